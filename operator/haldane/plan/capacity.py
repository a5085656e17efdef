"""How many pods a revision needs for its share of the traffic."""

from __future__ import annotations

import math

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.observed import Observed


def is_autoscaled(md: ModelDeployment) -> bool:
    """Whether an autoscaler owns the stable revision's replicas."""
    scaling = md.spec.scaling
    return scaling.max_replicas is not None and scaling.max_replicas > scaling.min_replicas


def has_route(md: ModelDeployment) -> bool:
    """Whether a route splits the traffic by weight; otherwise pod counts make the share."""
    return md.spec.traffic.ingress is not None


def route_shows(md: ModelDeployment, observed: Observed, weight: int) -> bool:
    """Whether the cluster's canary route carries the weight; without a route there is nothing to wait for."""
    return not has_route(md) or observed.route_weight in (weight, None if weight == 0 else weight)


def full_size(md: ModelDeployment, observed: Observed, revision: str | None) -> int:
    """Pods that carry all of the traffic: minReplicas, or what the autoscaler made of it for `revision`."""
    floor = md.spec.scaling.min_replicas
    if not is_autoscaled(md) or revision is None:
        return floor
    return max(floor, observed.pods(revision).replicas)


def wanted_pods(status: ModelDeploymentStatus) -> dict[str, int]:
    """How many pods each revision with a Deployment is to have: a function of status alone.

    Recreate knows no surge: while there is a candidate, stable has no pods, though status remembers how many it had.
    """
    stable, candidate, previous = status.stable, status.candidate, status.previous
    wanted = {}
    if stable:
        wanted[stable.revision] = 0 if candidate and status.rollout.strategy == "Recreate" else stable.replicas
    if candidate:
        wanted[candidate.revision] = candidate.replicas
    if previous and previous.replicas > 0:
        wanted[previous.revision] = previous.replicas
    return wanted


def autoscaled(md: ModelDeployment, status: ModelDeploymentStatus) -> dict[str, int]:
    """The revisions whose pods an autoscaler owns, and how many it leaves each at least.

    Stable keeps what carried everything while a rollout takes its traffic away. A candidate with a share that a route gives it
    has an autoscaler of its own: stable's sees the load of pods that have a part of their work left, and adds none when the
    traffic grows. Where the pod counts make the share, all pods have the same load, and the candidate's number follows stable's.
    """
    stable, candidate, rollout = status.stable, status.candidate, status.rollout
    wanted = wanted_pods(status)
    if not is_autoscaled(md) or stable is None or wanted[stable.revision] == 0:
        return {}
    floor = stable.replicas if candidate or rollout.weight else 0
    owned = {stable.revision: max(md.spec.scaling.min_replicas, floor)}
    has_share = has_route(md) and rollout.phase in ("Progressing", "Promoting", "RollingBack")
    if candidate and has_share and wanted[candidate.revision] > 0:
        owned[candidate.revision] = candidate.replicas
    return owned


def whole(md: ModelDeployment, pods: int, weight: int) -> int:
    """Pods that all of the traffic needs at least, when an autoscaler made it so many for a weight in per cent."""
    return min(md.spec.scaling.max_replicas or pods, (pods - 1) * 100 // weight + 1)


def candidate_size(md: ModelDeployment, weight: int, full: int) -> int:
    """Pods that the candidate needs at a weight in per cent, when `full` pods carry everything.

    With a route: its share of `full`, rounded up. Without one, the count beside `full` stable pods whose share is nearest
    to the weight: at least 1, and at most `full`, since the stable revision keeps all of its pods until promotion.
    """
    if weight >= 100:
        return full
    if has_route(md):
        return max(1, math.ceil(full * weight / 100))
    ideal = full * weight / (100 - weight)
    nearest = min((math.floor(ideal), math.ceil(ideal)), key=lambda n: abs(n / (n + full) - weight / 100))
    return min(full, max(1, nearest))


def share_at(md: ModelDeployment, weight: int) -> float:
    """The fraction of the requests that the candidate is to get at a weight in per cent, before any pod was seen."""
    full = md.spec.scaling.min_replicas
    return expected_share(md, weight, candidate_size(md, weight, full), full)


def expected_share(md: ModelDeployment, weight: int, candidate_ready: int, stable_ready: int) -> float:
    """Fraction of the requests that the candidate should answer at a weight in per cent."""
    if has_route(md) or weight in (0, 100):
        return weight / 100
    total = candidate_ready + stable_ready
    return candidate_ready / total if total else 0.0
