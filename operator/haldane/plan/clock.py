"""A clock that was set back, or an operator that goes on where another one's clock was ahead: what has not come yet is now.

Whatever waits for so long since a moment would else wait until the clock is there again, and nobody would look at a check until then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from haldane.api.v1alpha1 import ModelDeployment

_MOMENTS = (
    "started_at",
    "phase_started_at",
    "weight_changed_at",
    "step_started_at",
    "lost_at",
    "stable_lost_at",
    "checked_at",
)


def caught_up(md: ModelDeployment, now: datetime) -> ModelDeployment:
    """The object with no moment of its rollout after `now`; the very same when there is none."""
    rollout = md.status.rollout
    changes: dict[str, Any] = {name: now for name in _MOMENTS if (getattr(rollout, name) or now) > now}
    if any(check.at > now for check in rollout.checks):
        changes["checks"] = [check.model_copy(update={"at": min(check.at, now)}) for check in rollout.checks]
    if any(gate.at > now or gate.since > now for gate in rollout.gates):
        changes["gates"] = [
            gate.model_copy(update={"at": min(gate.at, now), "since": min(gate.since, now)}) for gate in rollout.gates
        ]
    if not changes:
        return md
    status = md.status.model_copy(update={"rollout": rollout.model_copy(update=changes)})
    return md.model_copy(update={"status": status})
