"""What only time that somebody really waited may end, whatever the operator's clock shows: in a lying world's own seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.clock import LAST_CHANCE, LAST_CHANCES, SET
from haldane.plan.situation import Decision

if TYPE_CHECKING:
    from .lying import LyingWorld

ROUNDED = 3
"""Seconds that a phase may seem shorter: passes come once a second, and one is decided at the instant of its look."""


@dataclass
class Patience:
    """Since when the phase lasts, and since when there has been an operator."""

    phase: str = ""
    began: int = 0
    alive: int = 0
    skew: timedelta = timedelta(0)
    jumps: int = 0
    """How often its clock was set since the phase began: a little each time is not told from its haste."""

    def take(self, world: LyingWorld, md: ModelDeployment, decision: Decision) -> None:
        """One decision, on `md`."""
        old, new = md.status, decision.status
        if world.passed is None:
            self.alive = world.second
        if world.skew != self.skew:
            self.skew, self.jumps = world.skew, self.jumps + 1
        spec = md.spec.rollout
        least = parse_duration(spec.progress_deadline)
        # A verb that is heard changes what is remembered of the rejections before.
        known = {(entry.revision, entry.at) for entry in old.rejected}
        is_rejected = any(
            entry.reason == "ProgressDeadlineExceeded" and (entry.revision, entry.at) not in known
            for entry in new.rejected
        )
        if is_rejected:
            is_spent = (old.rollout.last_chances or 0) >= LAST_CHANCES
            after_absence = timedelta(0) if is_spent else min(least, LAST_CHANCE)
            self._examine(world, least, after_absence, "a deadline is for time that was waited")
        if old.rollout.phase == "Watching" and new.rollout.phase == "Stable" and old.previous:
            watch = max(parse_duration(spec.keep_stable_for), parse_duration(spec.watch_after_promotion))
            self._examine(world, watch, timedelta(0), "the watch lasts as long as was asked for")
        if new.rollout.phase != self.phase:
            self.phase, self.began, self.jumps = new.rollout.phase, world.second, 0

    def _examine(self, world: LyingWorld, whole: timedelta, after_absence: timedelta, law: str) -> None:
        was_away = self.alive > self.began
        lasted, due = world.second - (self.alive if was_away else self.began), after_absence if was_away else whole
        assert lasted >= (due - self.jumps * SET).total_seconds() - ROUNDED, law
