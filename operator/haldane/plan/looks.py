"""How much chance of a false alarm each look at a check may spend.

A candidate exactly at a limit may be called beyond it with a chance that is fixed for a whole step, however often it is
looked at. Three tests share that chance (their sum bounds it: Bonferroni):

- at every look, a test that may be repeated without end (`sequential`), for most of what goes wrong; it leaves out the worst
  interval between two looks, so that it takes two bad ones to prove anything;
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
from haldane.plan.proportions import detectable

EVERY_LOOK = 0.0075
SUDDEN_FAULT = 0.0025
PLANNED_LOOK = 0.01
DECISIVE_LOOK = 0.07
DECISIVE_LOOK_AT_MAX = 0.02
"""What the planned look spends where it then sees `DOUBLE` the limit in 4 of 5 cases.

With fewer requests it would not see it anyway; with more it sees `FINE` times the limit, in 19 of 20 cases, for less. At an
absolute limit it spends less of it: a service may well live just below its `max`.
"""
DOUBLE, FINE = 2.0, 1.6
SURELY = 0.95

SUSPICION = 0.15
"""A step whose hold is over goes on when so many hits, were the share at its limit, had less than this chance."""


@dataclass(frozen=True)
class Look:
    """One look at all the checks of a step."""

    number: int = 1
    """Which look at this weight it is, counted by the interval, from 1."""
    planned: int = 0
    """Planned looks whose time has come; 0 before the end of the hold, and where there is no hold."""

    @property
    def sudden_level(self) -> float:
        """The chance that the test of the last window may spend now."""
        return SUDDEN_FAULT * 6.0 / (math.pi * self.number) ** 2

    def planned_part(self, taken: int) -> float:
        """The part of `planned_chance` that may be spent now, when `taken` such looks were taken before; 0 when none is due."""
        return 0.5 ** (self.planned - 1) if self.planned > taken else 0.0


def planned_chance(requests: float, limit: float, is_rise: bool) -> float:
    """The chance of a false alarm that the first planned look spends on so many requests, whatever they brought.

    `limit` is the highest share that is allowed; `is_rise` tells whether it is stable's own share with an allowance.
    """
    decisive = DECISIVE_LOOK if is_rise else DECISIVE_LOOK_AT_MAX
    sees_fine = detectable(requests, limit, PLANNED_LOOK, SURELY) <= FINE * limit
    sees_double = detectable(requests, limit, decisive) <= DOUBLE * limit
    return decisive if sees_double and not sees_fine else PLANNED_LOOK


def hold_ends(md: ModelDeployment) -> datetime | None:
    """When the current step's hold ends; None when no hold runs."""
    rollout, steps = md.status.rollout, md.spec.rollout.steps
    if rollout.phase != "Progressing" or rollout.step_started_at is None:
        return None
    return rollout.step_started_at + parse_duration(steps[min(rollout.step or 0, len(steps) - 1)].hold)


def look_at(md: ModelDeployment, counted: timedelta, now: datetime) -> Look:
    """The look at `now`, when requests have been counted for as long as `counted`."""
    analysis, ends = md.spec.rollout.analysis, hold_ends(md)
    number = max(1, math.ceil(counted / parse_duration(analysis.interval)))
    if ends is None or now < ends:
        return Look(number)
    held = ends - (md.status.rollout.step_started_at or ends)
    again = max(held, parse_duration(analysis.window))
    return Look(number, 1 + int(math.log2(1.0 + (now - ends) / again)))
