"""What has changed between the status that a pass took and the one that it decides."""

from __future__ import annotations

from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.observed import Observed


def reroutes(md: ModelDeployment, status: ModelDeploymentStatus, observed: Observed) -> bool:
    """Whether requests are taken away from pods that serve: from a candidate, or from a stable that was promoted too soon."""
    less = status.rollout.weight < max(md.status.rollout.weight, observed.route_weight or 0)
    before, after = md.status.stable, status.stable
    return less or (before is not None and after is not None and before.revision != after.revision)


def goes_back(md: ModelDeployment, status: ModelDeploymentStatus) -> bool:
    """Whether the rollout leaves for stable, or waits anew for pods that were lost."""
    before, after = md.status.rollout.phase, status.rollout.phase
    return before != after and (
        after == "RollingBack" or (after == "Preparing" and before in ("Progressing", "Promoting"))
    )


def is_only_news(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Whether all that is new was seen and not decided, as most looks at the checks end: nothing follows from it."""
    told: dict[str, Any] = {"checks": [], "checked_at": None, "observed_weight": None, "message": ""}
    one, other = (
        status.model_copy(update={"conditions": [], "rollout": status.rollout.model_copy(update=told)})
        for status in (before, after)
    )
    return one == other


def facts(status: ModelDeploymentStatus) -> dict[str, Any]:
    """Where a rollout stands, for a line of the log."""
    return {
        "phase": status.rollout.phase,
        "weight": status.rollout.weight,
        "stable": status.stable and status.stable.revision,
        "candidate": status.candidate and status.candidate.revision,
        "previous": status.previous and status.previous.revision,
    }
