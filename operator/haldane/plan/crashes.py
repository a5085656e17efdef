"""Containers that end by themselves while others of their revision serve: one end may be bad luck, a second one is the version's.

Of each container the kubelet keeps the last end, so what is known of a pod is how its last run ended and whether an earlier one
had. That is enough to tell one end from two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from haldane.plan.diagnosis import Severity, cause_of_end
from haldane.plan.observed import Crash, Problem, RevisionPods
from haldane.plan.pod_template import CONTAINER

Manifest = dict[str, Any]

NEAR = timedelta(minutes=10)
"""How long after one crash another counts as of the same cause: any large enough fleet has a rare one now and then."""
_UNSEEN = frozenset({"ContainerStatusUnknown", "Unknown"})
"""Reasons of the kubelet's for a container that it lost sight of: the node was restarted."""


def crashes(pods: Iterable[Manifest]) -> tuple[Crash, ...]:
    """How the last runs of the runtime in a revision's pods ended, by themselves.

    Other containers may be of a mesh that stable's pods have as well. A load that failed is none: the runtime says why, the pod
    tries again, and it has answered nothing yet. Nor is a pod that its node gave up (evicted), nor a container whose end nobody
    saw.
    """
    return tuple(
        crash
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
        for state in pod.get("status", {}).get("containerStatuses") or ()
        if state["name"] == CONTAINER
        for crash in _last(pod, state)
    )


def _last(pod: Manifest, state: Manifest) -> Iterator[Crash]:
    now = state.get("state") or {}
    ended = now.get("terminated") or (state.get("lastState") or {}).get("terminated") or {}
    if not ended.get("startedAt") or not ended.get("finishedAt") or ended.get("reason") in _UNSEEN:
        return
    severity, problem = cause_of_end(pod, state, ended)
    if severity is not Severity.LOAD:
        yield Crash(
            node=pod.get("spec", {}).get("nodeName") or "",
            began=datetime.fromisoformat(ended["startedAt"]),
            ended=datetime.fromisoformat(ended["finishedAt"]),
            is_first=int(state.get("restartCount", 0)) <= (1 if now.get("running") else 0),
            problem=problem,
        )


def repeated(
    pods: RevisionPods, since: datetime | None, beside: RevisionPods | None = None, *, serves_alone: bool = False
) -> Problem | None:
    """What the pods crash of again and again since a moment; None while they do not.

    Twice, that is, and not hours apart: a container that had crashed, came back and has soon crashed since, or containers on two
    nodes. What takes several at once with their node, as its lack of memory does, counts once. Pods `beside` them, of the other
    revision, that have crashed as often show that it is not the version's. Of one that `serves_alone`, on every node, what
    crashes on a single one may be that node's, unless that is most of its pods.
    """
    again, apart = _again(pods, since), _apart(pods, since)
    if serves_alone and not apart and 2 * len(again) <= pods.replicas:
        return None
    found = [*again, *apart]
    if not found or (beside and _times(beside, since) >= _times(pods, since)):
        return None
    return found[0].problem


def _times(pods: RevisionPods, since: datetime | None) -> int:
    again, apart = _again(pods, since), _apart(pods, since)
    return sum(crash in again or crash in apart for crash in pods.crashes)


def _again(pods: RevisionPods, since: datetime | None) -> list[Crash]:
    """Of containers that came back and crashed soon after: at most 5 min (the kubelet's back-off) and the run lie between the ends."""
    return [
        crash
        for crash in pods.crashes
        if since is not None and crash.began >= since and not crash.is_first and crash.ended - crash.began <= NEAR
    ]


def _apart(pods: RevisionPods, since: datetime | None) -> list[Crash]:
    """Of containers on two nodes, that ended near each other."""
    fresh = sorted((c for c in pods.crashes if since is not None and c.ended >= since), key=lambda crash: crash.ended)
    pairs = [
        (one, other) for one, other in pairwise(fresh) if one.node != other.node and other.ended - one.ended <= NEAR
    ]
    return [crash for pair in pairs for crash in pair]
