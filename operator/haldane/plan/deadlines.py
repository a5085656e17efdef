"""Until when a phase may last before something is done about it, or said."""

from __future__ import annotations

from datetime import datetime

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment


def deadline(md: ModelDeployment) -> datetime | None:
    """When the current phase should be over; None at rest.

    A step's deadline is its hold plus `progressDeadline`; the watch after a promotion ends by itself.
    """
    rollout, spec = md.status.rollout, md.spec.rollout
    if rollout.phase in ("Stable", "Watching") or rollout.phase_started_at is None:
        return None
    began = rollout.phase_started_at
    if rollout.phase == "Preparing" and rollout.weight_changed_at:
        # Pods that were lost have as long to come back as they had to come.
        began = max(began, rollout.weight_changed_at)
    limit = began + parse_duration(spec.progress_deadline)
    if rollout.phase == "Progressing" and spec.steps:
        limit += parse_duration(spec.steps[min(rollout.step or 0, len(spec.steps) - 1)].hold)
    return limit


def is_overdue(md: ModelDeployment, now: datetime) -> bool:
    """Whether the current phase lasts longer than it should."""
    limit = deadline(md)
    return limit is not None and now > limit
