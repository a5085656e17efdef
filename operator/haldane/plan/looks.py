"""How much chance of a false alarm each look at a check may spend.

A candidate exactly at a limit may be called beyond it with a chance that is fixed for a whole step, however often it is
looked at. Three tests share that chance (their sum bounds it: Bonferroni):

- at every look, a test that may be repeated without end (`sequential`), for most of what goes wrong; the worst interval between
  two looks counts as the second worst, so that it takes two bad ones to prove anything;
- at the end of the hold, one planned look, which needs fewer requests to see a small rise; when the step must go on, again
  after as long, at half the chance, and so on (alpha spending: Lan and DeMets, Biometrika 70, 1983);
- at every look, only what came in the last window, for a fault that begins late and that a long good time would hide; the
  n-th look spends 6 / (pi n) ** 2 of that chance, which sums to all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import share_at
from haldane.plan.proportions import detectable
from haldane.plan.strategy import current_step

EVERY_LOOK = 0.0125
SUDDEN_FAULT = 0.0025
PLANNED_LOOK = 0.01
DECISIVE_LOOK = 0.08
DECISIVE_LOOK_AT_MAX = 0.02
"""What the planned look spends where it then sees `DOUBLE` the limit in 4 of 5 cases.

With fewer requests it would not see it anyway; with more it sees `FINE` times the limit, in 19 of 20 cases, for less. At an
absolute limit it spends less of it: a service may well live just below its `max`. And it is spent once in a rollout: a step
after one that could see a doubling looks for less.
"""
DOUBLE, FINE = 2.0, 1.6
SURELY = 0.95

SUSPICION = 0.15
"""A step whose hold is over goes on when so many hits, were the share at its limit, had less than this chance."""
STRONG_SUSPICION = 0.02
"""The same for a step too small to see much, when a larger one follows: that finds out sooner what a few requests made look
bad, and should get nothing of what looks very bad.
"""
SUSPICION_WITH_EARLIER = 0.3
"""The same for the last step at an absolute limit, when the requests of the steps before are added to its own.

They are about the same version and the same limit. Whom it suspects wrongly, it costs time and no false alarm: what makes a
check fail is always the step's own requests. A canary of 3 % errors at a limit of 2 % (5, 25 and 50 % of 100 requests/s, 30 s
each) was promoted in 9 % of rollouts without it, 2 % at a chance of 0.25, 1 % at 0.3; one of 1.9 % then takes 4 s longer on average.
"""

POOR = 5.0
"""The last step goes on, at most up to its deadline, until so many times the limit would be seen: nothing after it will.

So it is where `analysis.detect` says nothing. What it says holds for every step.
"""

PASSED_WRONGLY = 0.0005
"""Chance that the last step ever passes a version whose true share is as far beyond an absolute limit as `MARGINS` says."""
MARGINS = (1.5, 2.0, 3.0, POOR)
"""So many times its limit a version must be shown to be below, the first that `HEALTHY` times the limit is shown to be below
by as many requests as the holds gather: a good version waits for no proof that its steps were never made for. At the deadline
of the step none is waited for, and what is shown to be clear of the first passes unless the suspicion is strong.
"""
HEALTHY = 0.5


@dataclass(frozen=True)
class Look:
    """One look at all the checks of a step."""

    number: int = 1
    """Which look at this weight it is, counted by the interval, from 1."""
    planned: int = 0
    """Planned looks whose time has come; 0 before the end of the hold, and where there is no hold."""
    earlier: float = 0.0
    """Requests of the candidate by the end of the hold of the step before that had the most, per request of this step now."""
    earlier_beside: float = 0.0
    """The same for what they tell beside stable's: a share near a half tells more than its requests alone."""
    is_last: bool = True
    """Whether no step with more traffic follows."""
    held: float = 1.0
    """The part of this step's requests that came by the end of its hold, as if they came evenly."""

    @property
    def sudden_level(self) -> float:
        """The chance that the test of the last window may spend now."""
        return SUDDEN_FAULT * 6.0 / (math.pi * self.number) ** 2

    def planned_part(self, taken: int) -> float:
        """The part of `planned_chance` that may be spent now, when `taken` such looks were taken before; 0 when none is due."""
        return 0.5 ** (self.planned - 1) if self.planned > taken else 0.0


def planned_chance(requests: float, limit: float, is_rise: bool, earlier: float = 0.0) -> float:
    """The chance of a false alarm that the first planned look spends on so many requests, whatever they brought.

    `limit` is the highest share that is allowed; `is_rise` tells whether it is stable's own share with an allowance;
    `earlier` is how many times as many an earlier step had.
    """
    decisive = DECISIVE_LOOK if is_rise else DECISIVE_LOOK_AT_MAX
    sees_fine = detectable(requests, limit, PLANNED_LOOK, SURELY) <= FINE * limit
    sees_double, saw_double = (
        detectable(informed, limit, decisive) <= DOUBLE * limit for informed in (requests, requests * earlier)
    )
    return decisive if sees_double and not sees_fine and not saw_double else PLANNED_LOOK


def hold_ends(md: ModelDeployment) -> datetime | None:
    """When the current step's hold ends; None when no hold runs."""
    rollout = md.status.rollout
    if rollout.phase != "Progressing" or rollout.step_started_at is None:
        return None
    return rollout.step_started_at + parse_duration(current_step(md, rollout).hold)


def look_at(md: ModelDeployment, counted: timedelta, now: datetime) -> Look:
    """The look at `now`, when requests have been counted for as long as `counted`."""
    analysis, ends = md.spec.rollout.analysis, hold_ends(md)
    number = max(1, math.ceil(counted / parse_duration(analysis.interval)))
    in_step = md.status.rollout.phase == "Progressing"
    earlier = before(md, md.status.rollout.step or 0, counted) if in_step else (0.0, 0.0)
    is_last = not in_step or (md.status.rollout.step or 0) + 1 >= len(md.spec.rollout.steps)
    if ends is None or now < ends:
        return Look(number, 0, *earlier, is_last)
    hold = ends - (md.status.rollout.step_started_at or ends)
    again = max(hold, parse_duration(analysis.window))
    held = min(1.0, max(0.0, (hold - parse_duration(analysis.warmup)) / counted))
    return Look(number, 1 + int(math.log2(1.0 + (now - ends) / again)), *earlier, is_last, held)


def before(md: ModelDeployment, index: int, counted: timedelta) -> tuple[float, float]:
    """`earlier` and `earlier_beside` of a look at a step that has counted requests for so long (see `Look`).

    As if requests came as evenly as the shares of the steps promise.
    """
    steps, warmup = md.spec.rollout.steps, parse_duration(md.spec.rollout.analysis.warmup)
    now = share_at(md, steps[min(index, len(steps) - 1)].weight)
    alone, beside = 0.0, 0.0
    if not now or counted <= timedelta(0):
        return alone, beside
    for step in steps[:index]:
        part = max(0.0, (parse_duration(step.hold) - warmup) / counted)
        share = share_at(md, step.weight)
        alone = max(alone, part * share / now)
        beside = max(beside, part * share * (1.0 - share) / max(1e-9, now * (1.0 - now)))
    return alone, beside
