"""Containers that end by themselves while others of their revision serve: one end may be bad luck, a second one is the version's.

Of each container the kubelet keeps the last end, so what is known of a pod is how its last run ended and whether an earlier one
had. That is enough to tell one end from two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from haldane.plan.diagnosis import Severity, cause_of_end
from haldane.plan.observed import Crash, Problem, RevisionPods
from haldane.plan.pod_template import CONTAINER

Manifest = dict[str, Any]

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


def repeated(pods: RevisionPods, since: datetime | None) -> Problem | None:
    """What the pods crash of again and again since a moment; None while they do not.

    Twice, that is: a container that had crashed, came back and has crashed since, or containers on two nodes. What takes several
    at once with their node, as its lack of memory does, counts once.
    """
    fresh = [crash for crash in pods.crashes if since is not None and crash.ended >= since]
    again = [crash for crash in fresh if not crash.is_first and since is not None and crash.began >= since]
    if again:
        return again[0].problem
    return fresh[0].problem if len({crash.node for crash in fresh}) > 1 else None
