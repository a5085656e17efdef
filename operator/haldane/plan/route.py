"""Does the route follow what was decided? While the API server does not let anybody write it, it does not.

The way on and the way back write the same object, so a wait for it cannot end in the other direction. It goes on for as long as
that lasts, told when its deadline has passed (`stuck`), with every pod kept that requests may reach; and as soon as the route
follows, what has to settle settles from then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from haldane.plan import names, setbacks
from haldane.plan import transitions as to
from haldane.plan.situation import Decision, Situation
from haldane.plan.stand_alone import is_alone

WITHOUT_PODS = 2 * to.ROUTE_SETTLE
"""How long a share that was taken from pods that are gone may stay in the route before the Service takes it from them."""


def awaited(s: Situation, message: str, **changes: Any) -> Decision:
    """Wait for the route; since when is remembered, and written once."""
    return to.moved(s, message, after=to.SOON, route_awaited_at=s.rollout.route_awaited_at or s.now, **changes)


def led_back(s: Situation) -> Decision:
    """On the way back: the candidate's Service leads to stable from now on, whether the route gives up its share or not."""
    return awaited(s, s.rollout.message, led_back_at=s.rollout.led_back_at or s.now)


def followed(s: Situation) -> Decision | None:
    """It was waited for and is there now: proxies hear of it from now on. None when it was not waited for."""
    if s.rollout.route_awaited_at is None:
        return None
    return to.moved(s, s.rollout.message, after=to.SOON, weight_changed_at=s.now, route_awaited_at=None)


def occupied(s: Situation) -> Decision | None:
    """Why no rollout begins: what the route still gives the candidate's Service would meet pods that are not ready."""
    if s.route_shows(0):
        return None
    carried = s.observed.route_weight
    return awaited(s, f"version {s.target.version} is not rolled out yet: the route still carries weight {carried}%")


def settling(s: Situation) -> Decision | None:
    """A rollout may begin, once every proxy has heard that the candidate's Service has no share; None when they have."""
    changed = s.rollout.weight_changed_at
    left = to.ROUTE_SETTLE - s.since(changed)
    return Decision(s.status, left) if changed and left > timedelta(0) else None


def not_given_up(s: Situation) -> Decision | None:
    """The candidate has lost its pods, and its share stays in the route: only on the way back its Service leads elsewhere."""
    if s.pods(s.status.candidate).ready > 0 or s.route_shows(0):
        return None
    since = s.rollout.share_left_at
    if since is None or s.since(since) <= WITHOUT_PODS:
        return to.moved(s, s.rollout.message, after=to.SOON, share_left_at=since or s.now)
    carried = s.observed.route_weight
    why = f"none of its pods is ready, and the route still gives them {carried}% of the requests"
    return setbacks.roll_back(s, "RolledBack", "CandidateLost", why)


def unshown(s: Situation) -> Decision | None:
    """The candidate's pods are ready, and its Service shows none of them: whoever is led there would meet nobody.

    No fault of the version, and no way round it: it is told of when its deadline has passed (`stuck`).
    """
    candidate = s.status.candidate
    if candidate is None or s.observed.candidate_endpoints.get(candidate.revision, 0) > 0:
        return None
    text = f"waiting for Service {names.candidate_service(s.md.metadata.name)} to show the pods of version {candidate.version}"
    return to.moved(s, f"{text}: {s.pods(candidate).ready} are ready, none is among its endpoints", after=to.SOON)


def still_needed(s: Situation, size: int) -> int:
    """Pods of the candidate's that stay for now, when its step needs `size` of them.

    A weight that is lowered is what proxies go on to act on until it has settled; and without stable all depends on them.
    """
    candidate, changed = s.status.candidate, s.rollout.weight_changed_at
    is_settled = s.route_shows(s.rollout.weight) and (changed is None or s.since(changed) >= to.ROUTE_SETTLE)
    if candidate is None or (is_settled and s.step.weight >= s.rollout.weight and not is_alone(s.rollout, s.now)):
        return size
    return max(size, candidate.replicas)
