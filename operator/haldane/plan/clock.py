"""What a clock that is set, or a time in which nobody looked, must not decide.

Deadlines stand in status as moments of the wall clock, for any process may have to go on. A process compares that clock with one
that nobody sets: what it was set ahead between two passes did not pass for anybody who waits. Across a restart nothing can tell a
clock that was set from a time without an operator; then a deadline that has passed unseen gives a last chance: what became of
the pods meanwhile is to be seen before it decides. How often is bounded, or an operator that dies every few seconds would wait
for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from haldane.api.quantity import parse_duration
from haldane.api.status import RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.deadlines import deadline, step_limit
from haldane.plan.stand_alone import LONG_ENOUGH, is_alone

SET = timedelta(seconds=5)
"""How far the two clocks may be apart between two passes before one of them was set."""
UNWATCHED = 60.0
"""Seconds without a pass after which a phase that is looked at every 10 s counts as unseen."""
LAST_CHANCE = timedelta(seconds=30)
"""How long a deadline that has passed unseen still waits: pods on a node that comes back are ready, or seen to crash, by then."""
LAST_CHANCES = 3
"""How many a wait is given at most. Who lives to the end of one decides; only a process that dies before needs another."""

_MOMENTS = (
    "started_at",
    "phase_started_at",
    "weight_changed_at",
    "step_started_at",
    "route_awaited_at",
    "led_back_at",
    "share_left_at",
    "asked_anew_at",
    "lost_at",
    "back_at",
    "stable_lost_at",
    "checked_at",
)


@dataclass(frozen=True)
class Instant:
    """When a pass was, by two clocks."""

    at: datetime
    """By the wall clock."""
    steady: float
    """Seconds, by a clock of this process that nobody sets."""
    waited: float | None = None
    """By the same clock: the last pass since that waited for answers, and left nothing."""

    def watched(self, now: Instant) -> Instant:
        """The same, after a pass that waits at `now`. A gap before that one stays a gap, until a pass has decided after it."""
        return self if self.is_unwatched(now) else replace(self, waited=now.steady)

    def is_unwatched(self, now: Instant) -> bool:
        """Whether nobody has looked for so long that a deadline may have passed unseen."""
        return now.steady - (self.steady if self.waited is None else self.waited) > UNWATCHED


def in_time(md: ModelDeployment, now: Instant, last: Instant | None) -> ModelDeployment:
    """The object with the moments of its rollout as this pass must count from them; the very same when they may stay.

    `last` is the instant of the pass of this process that left its status; None when none did.
    """
    if md.status.rollout.phase not in ("Initializing", "Stable"):
        if last is None or last.is_unwatched(now):
            md = _given_a_last_chance(md, now.at)
        if last is not None:
            md = _set_ahead(md, now.at - last.at - timedelta(seconds=now.steady - last.steady))
    return caught_up(md, now.at)


def caught_up(md: ModelDeployment, now: datetime) -> ModelDeployment:
    """The object with no moment of its rollout after `now`; the very same when there is none.

    Of a clock that was set back, or another operator's that was ahead: whatever waits for so long since a moment would else
    wait until the clock is there again, and nobody would look at a check until then.
    """
    return _moved(md, lambda moment: min(moment, now)) if any(at > now for at in _all(md.status.rollout)) else md


def _set_ahead(md: ModelDeployment, jump: timedelta) -> ModelDeployment:
    return _moved(md, lambda moment: moment + jump) if jump > SET else md


def _given_a_last_chance(md: ModelDeployment, now: datetime) -> ModelDeployment:
    """What would be overdue now, or soon, is so in `LAST_CHANCE`, unless it was put off so often before."""
    rollout = md.status.rollout
    given = rollout.last_chances or 0
    if given >= LAST_CHANCES:
        return md
    begun, ends = rollout.phase_started_at, deadline(md)
    limit = parse_duration(md.spec.rollout.progress_deadline)
    least = {"share_left_at": now}
    if begun and ends:
        least["phase_started_at"] = begun + max(timedelta(0), now + LAST_CHANCE - ends)
    if rollout.phase == "Promoting" and md.status.candidate is None:
        least["weight_changed_at"] = now + LAST_CHANCE - limit
    least["lost_at"] = now + LAST_CHANCE - (limit if rollout.phase == "Watching" else step_limit(md))
    if rollout.checked_at is None or not is_alone(rollout, rollout.checked_at):
        # Otherwise it was acted upon already, and people were told since when.
        least["stable_lost_at"] = now + LAST_CHANCE - LONG_ENOUGH
    changes: dict[str, Any] = {name: at for name, at in least.items() if (getattr(rollout, name) or at) < at}
    return _with(md, {**changes, "last_chances": given + 1}) if changes else md


def _all(rollout: RolloutStatus) -> list[datetime]:
    moments = [getattr(rollout, name) for name in _MOMENTS]
    moments += [check.at for check in rollout.checks]
    moments += [at for gate in rollout.gates for at in (gate.at, gate.since)]
    return [moment for moment in moments if moment]


def _moved(md: ModelDeployment, to: Callable[[datetime], datetime]) -> ModelDeployment:
    rollout = md.status.rollout
    changes: dict[str, Any] = {name: to(at) for name in _MOMENTS if (at := getattr(rollout, name))}
    changes["checks"] = [check.model_copy(update={"at": to(check.at)}) for check in rollout.checks]
    changes["gates"] = [gate.model_copy(update={"at": to(gate.at), "since": to(gate.since)}) for gate in rollout.gates]
    return _with(md, changes)


def _with(md: ModelDeployment, changes: Mapping[str, Any]) -> ModelDeployment:
    status = md.status.model_copy(update={"rollout": md.status.rollout.model_copy(update=changes)})
    return md.model_copy(update={"status": status})
