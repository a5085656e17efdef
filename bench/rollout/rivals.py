"""The rules of Flagger and of Argo Rollouts on the same traffic, as their documentation defines them.

Both compare a metric of the last minute with a fixed limit. Flagger counts failed checks over the whole analysis, keeps the
weight while one fails, and rolls back at the check after its `threshold` is reached; a metric without a value is a failed check.
Argo Rollouts goes through its steps by time, counts failed measurements in the background, and aborts when they are more than
`failureLimit`; five measurements in a row without an answer abort, too (`consecutiveErrorLimit`).

Both get the steps, the interval and the traffic that Haldane has, and limits that only somebody could write who knows stable's
true error rate and p99: so many times those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from haldane.plan.queries import BOUNDS
from haldane.simulate.counters import ERRORS, FIRST_BUCKET, TOTAL, Counters
from haldane.simulate.rollout import BEGIN, READY_AFTER
from haldane.simulate.traffic import Fault, Floats, Surroundings

STEPS = ((0.01, 120), (0.05, 600), (0.25, 600), (0.5, 600))
INTERVAL, WINDOW = 30, 60
ERROR_LIMIT = 4
"""Argo Rollouts' default `consecutiveErrorLimit`."""


Rival = Literal["Flagger", "Argo Rollouts"]


@dataclass(frozen=True)
class Rule:
    """One rival with one setting."""

    rival: Rival
    failures: int
    """`threshold` of Flagger (its documentation's examples: 5 and 10), `failureLimit` of Argo Rollouts (3; its default is 0)."""
    slack: float
    """The limits, as multiples of stable's true error rate and p99."""

    @property
    def name(self) -> str:
        """For tables."""
        setting = "threshold" if self.rival == "Flagger" else "failureLimit"
        return f"{self.rival}, {setting} {self.failures}, limits {self.slack:g} x stable"


SLACKS = (1.2, 1.5, 2.0, 3.0, 5.0)
SETTINGS: tuple[tuple[Rival, int], ...] = (("Flagger", 5), ("Flagger", 10), ("Argo Rollouts", 0), ("Argo Rollouts", 3))
RULES = tuple(Rule(rival, failures, slack) for rival, failures in SETTINGS for slack in SLACKS)


@dataclass
class Ended:
    """How a rollout under a rival's rule went; times in seconds after its first request."""

    outcome: str
    ended: int | None
    spoilt: float
    step: int | None = None


def play(rule: Rule, around: Surroundings, fault: Fault, random: np.random.Generator) -> Ended:
    """One rollout under a rule."""
    candidate = Counters(around, random, fault)
    service = around.service
    limits = (service.errors * rule.slack, service.median * math.exp(2.3263 * service.spread) * rule.slack)
    begin = now = BEGIN + READY_AFTER
    step, passed, failed, unanswered = 0, 0, 0, 0
    candidate.serve(STEPS[0][0], now)
    ended = Ended("promoted", None, 0.0)
    while step < len(STEPS) and now + INTERVAL < len(around.rate):
        now += INTERVAL
        # Flagger looks at its threshold when the next check is due.
        lost = rule.rival == "Flagger" and failed >= rule.failures
        verdict = _check(candidate, limits, now) if around.answers[now] else None
        failed += verdict is False or (verdict is None and rule.rival == "Flagger")
        unanswered = unanswered + 1 if verdict is None else 0
        if rule.rival == "Argo Rollouts":
            lost = failed > rule.failures or unanswered > ERROR_LIMIT
        goes_on = verdict is True or rule.rival == "Argo Rollouts"
        if lost:
            candidate.serve(0.0, now)
            ended = Ended("rolled back", now - begin, 0.0, step)
            break
        passed += goes_on
        if passed * INTERVAL >= STEPS[step][1]:
            step, passed = step + 1, 0
            candidate.serve(STEPS[step][0] if step < len(STEPS) else 1.0, now)
    ended.ended = now - begin
    ended.spoilt = candidate.harm()[1]
    return ended


def _check(candidate: Counters, limits: tuple[float, float], now: int) -> bool | None:
    """Whether the last minute is within both limits; None without a value."""
    gained = candidate.at(now, WINDOW)
    if gained is None or gained[TOTAL] <= 0:
        return None
    slow = quantile(gained[FIRST_BUCKET:], 0.99)
    return bool(gained[ERRORS] / gained[TOTAL] <= limits[0]) and slow <= limits[1]


def quantile(buckets: Floats, q: float) -> float:
    """PromQL's `histogram_quantile` of counts that are not cumulative: requests are spread evenly in a bucket."""
    below = np.cumsum(buckets)
    rank = q * below[-1]
    index = int(np.searchsorted(below, rank))
    if index >= len(BOUNDS):
        return BOUNDS[-1]
    lower = BOUNDS[index - 1] if index else 0.0
    before = float(below[index - 1]) if index else 0.0
    return lower + (BOUNDS[index] - lower) * (float(rank) - before) / max(float(buckets[index]), 1e-9)
