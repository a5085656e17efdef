"""One end of a container may be bad luck; a second one is its version's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from haldane.plan.crashes import crashes, repeated
from haldane.plan.observe import observe
from haldane.plan.observed import RevisionPods

Manifest = dict[str, Any]
STEP = datetime(2026, 1, 1, 12, 0, 30, 500_000, tzinfo=UTC)


def at(second: int) -> str:
    return f"2026-01-01T12:{second // 60:02}:{second % 60:02}Z"


def a_pod(
    began: int,
    ended: int,
    restarts: int,
    now: str = "running",
    node: str = "n1",
    reason: str = "OOMKilled",
    container: str = "runtime",
    **end: Any,
) -> Manifest:
    """A pod of which a container ran from `began` to `ended`, in seconds after 12:00, and is `now` in another state."""
    end = {"reason": reason, "exitCode": 137, "startedAt": at(began), "finishedAt": at(ended), **end}
    states = {"running": {"running": {"startedAt": at(ended)}}, "terminated": {"terminated": end}}
    state = states.get(now, {"waiting": {"reason": "CrashLoopBackOff"}})
    told = {"name": container, "ready": now == "running", "restartCount": restarts, "state": state}
    if now != "terminated":
        told["lastState"] = {"terminated": end}
    return {
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "payments", "labels": {}},
        "spec": {"nodeName": node, "containers": [{"name": "runtime"}]},
        "status": {"containerStatuses": [told]},
    }


@pytest.mark.parametrize(
    ("pods", "is_shown"),
    [
        ([], False),
        ([a_pod(0, 40, 1)], False),  # once, and it runs again
        ([a_pod(0, 40, 0, "waiting")], False),
        ([a_pod(0, 40, 7, "waiting")], False),  # once in this step: the others were before
        ([a_pod(35, 40, 1)], False),  # once, in a pod that is new
        ([a_pod(35, 40, 0, "terminated")], False),
        ([a_pod(35, 40, 2)], True),  # came back in this step and crashed again
        ([a_pod(35, 40, 1, "waiting")], True),
        ([a_pod(35, 40, 1, "terminated")], True),
        ([a_pod(5, 20, 3)], False),  # all of it before the step
        ([a_pod(0, 40, 1), a_pod(0, 41, 1)], False),  # a node that lacks memory takes two at once
        ([a_pod(0, 40, 1), a_pod(0, 41, 1, node="n2")], True),
        ([a_pod(0, 20, 1), a_pod(0, 41, 1, node="n2")], False),
        ([a_pod(0, 40, 1), a_pod(0, 641, 1, node="n2")], False),  # rare ones of a large fleet
        ([a_pod(0, 40, 1), a_pod(0, 640, 1), a_pod(0, 640, 1, node="n2")], True),
        ([a_pod(35, 640, 2)], False),  # it served for long before it crashed again
        ([a_pod(35, 40, 2, reason="Unknown"), a_pod(35, 40, 2, reason="ContainerStatusUnknown")], False),
        ([a_pod(35, 40, 2, message='{"reason": "StorageUnreachable", "message": "no route"}')], False),
        ([a_pod(35, 40, 2) | {"status": {"phase": "Failed", "reason": "Evicted"}}], False),
        ([a_pod(35, 40, 2, startedAt=None)], False),
        ([a_pod(35, 40, 2, container="istio-proxy")], False),
    ],
)
def test_what_counts_as_again_and_again(pods: list[Manifest], is_shown: bool) -> None:
    problem = repeated(RevisionPods("r", 2, 1, crashes=crashes(pods)), STEP)
    assert (problem is not None) == is_shown
    assert problem is None or problem.reason == "OOMKilled"


LOOPS = a_pod(35, 40, 2)


@pytest.mark.parametrize(
    ("others", "is_shown"),
    [
        ([], True),
        ([a_pod(35, 40, 2)], False),
        ([a_pod(0, 40, 1), a_pod(0, 41, 1, node="n2")], False),
        ([a_pod(0, 40, 1)], True),  # one crash is less than a loop
        ([a_pod(5, 20, 7)], True),  # before
    ],
)
def test_what_crashes_the_other_revision_as_often_is_not_the_versions(others: list[Manifest], is_shown: bool) -> None:
    beside = RevisionPods("s", 2, 1, crashes=crashes(others))
    assert (repeated(RevisionPods("r", 2, 1, crashes=crashes([LOOPS])), STEP, beside) is not None) == is_shown
    assert repeated(RevisionPods("r", 3, 1, crashes=crashes([LOOPS, LOOPS, LOOPS])), STEP, beside) is not None


@pytest.mark.parametrize(
    ("pods", "is_shown"),
    [
        ([LOOPS], False),  # of four, on one node
        ([LOOPS] * 2, False),
        ([LOOPS] * 3, True),
        ([LOOPS, a_pod(0, 41, 1, node="n2")], True),
        ([LOOPS, a_pod(35, 1000, 2, node="n2")], False),  # not near each other
    ],
)
def test_one_node_alone_does_not_condemn_what_serves_everywhere(pods: list[Manifest], is_shown: bool) -> None:
    seen = RevisionPods("r", 4, 1, crashes=crashes(pods))
    assert (repeated(seen, STEP, serves_alone=True) is not None) == is_shown


def test_nothing_is_shown_before_there_is_a_weight() -> None:
    assert repeated(RevisionPods("r", 2, 1, crashes=crashes([a_pod(35, 40, 2)])), None) is None


def test_they_are_seen_while_enough_pods_are_ready(
    deployment: Callable[..., Manifest], pod: Callable[..., Manifest]
) -> None:
    status = a_pod(35, 40, 2)["status"]
    seen = observe("fraud", [deployment(replicas=1, ready=1), pod(**status)]).pods("aaaaaaaaaa")
    assert seen.problem is None
    assert [crash.problem.reason for crash in seen.crashes] == ["OOMKilled"]
    gone = pod(**status)
    gone["metadata"]["deletionTimestamp"] = at(41)
    assert observe("fraud", [deployment(), gone]).pods("aaaaaaaaaa").crashes == ()
