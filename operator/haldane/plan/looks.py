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

EVERY_LOOK = 0.0075
PLANNED_LOOK = 0.04
SUDDEN_FAULT = 0.0025

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

    def planned_level(self, taken: int) -> float:
        """The chance that the planned look may spend now, when `taken` of them were taken before; 0 when none is due."""
        return PLANNED_LOOK / 2.0 ** (self.planned - 1) if self.planned > taken else 0.0


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
