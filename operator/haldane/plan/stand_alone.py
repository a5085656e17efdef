"""A bad stable must not block a good candidate: what only a stable with pods can show is not waited for without end.

Without a ready pod stable answers nothing. The candidate's share is then all that is answered, whatever its weight, and there is
nothing to compare it with: its absolute limits alone decide.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from haldane.api.status import ModelDeploymentStatus, RolloutStatus
from haldane.plan.observed import Observed

LONG_ENOUGH = timedelta(seconds=30)
"""How long stable must have had no ready pod: pods that are deleted, or whose node goes, are mostly back or seen to be gone."""
NOT_COMPARED = "not compared: stable has no ready pod"
"""How a verdict says that it was given without stable."""


def lost_since(status: ModelDeploymentStatus, observed: Observed, now: datetime) -> datetime | None:
    """Since when stable has been seen without a ready pod beside a candidate; None while it has one, or none is due to it."""
    stable, rollout = status.stable, status.rollout
    is_beside = status.candidate is not None and rollout.phase in ("Preparing", "Progressing", "Promoting")
    if stable is None or not is_beside or rollout.strategy == "Recreate" or observed.pods(stable.revision).ready > 0:
        return None
    return rollout.stable_lost_at or now


def is_alone(rollout: RolloutStatus, now: datetime) -> bool:
    """Whether the candidate has had no stable beside it for so long that neither its share nor a comparison is waited for."""
    return rollout.stable_lost_at is not None and now - rollout.stable_lost_at >= LONG_ENOUGH
