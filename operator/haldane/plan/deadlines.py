"""Until when a phase may last before something is done about it, or said."""

from __future__ import annotations

from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import route_shows
from haldane.plan.observed import Observed
from haldane.plan.strategy import current_step


def deadline(md: ModelDeployment) -> datetime | None:
    """When the current phase should be over; None at rest.

    A step's deadline is its hold plus `progressDeadline`; the watch after a promotion ends by itself. What waits for the route
    has a deadline of its own (`is_stuck`).
    """
    rollout, spec = md.status.rollout, md.spec.rollout
    if rollout.phase in ("Stable", "Watching") or rollout.phase_started_at is None:
        return None
    is_step = rollout.phase == "Progressing"
    return rollout.phase_started_at + (step_limit(md) if is_step else parse_duration(spec.progress_deadline))


def step_limit(md: ModelDeployment) -> timedelta:
    """How long the current step may last."""
    rollout, spec = md.status.rollout, md.spec.rollout
    limit = parse_duration(spec.progress_deadline)
    if spec.steps:
        limit += parse_duration(current_step(md, rollout).hold)
    return limit


def is_overdue(md: ModelDeployment, now: datetime) -> bool:
    """Whether the current phase lasts longer than it should."""
    limit = deadline(md)
    return limit is not None and now > limit


def is_stuck(md: ModelDeployment, observed: Observed, now: datetime) -> bool:
    """Whether the route, or the Service, has been waited for longer than it may take, and does not follow yet.

    There is no way out of such a wait that does not write the same objects, so its deadline, `progressDeadline`, is one after
    which people are told.
    """
    rollout, since = md.status.rollout, md.status.rollout.route_awaited_at
    if since is None or now <= since + parse_duration(md.spec.rollout.progress_deadline):
        return False
    # On the way back it may be the Service that does not follow.
    return rollout.phase == "RollingBack" or not route_shows(md, observed, rollout.weight)
