"""What is read from the node's files and from the pod's status."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from e2e.soak.lives import Operator, errors
from e2e.soak.record import Span


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pod(container: str, *, ready: bool) -> dict[str, Any]:
    state = {"containerID": container, "state": {"running": {}}, "ready": ready, "restartCount": 0}
    return {"metadata": {"name": "haldane"}, "spec": {"nodeName": "node"}, "status": {"containerStatuses": [state]}}


def watched() -> tuple[Operator, Clock]:
    clock = Clock()
    return Operator(cast(Any, None), cast(Any, None), clock, Path("unused")), clock


def test_it_works_from_ready_to_killed() -> None:
    operator, clock = watched()
    for clock.now, name, ready in ((1, "a", False), (3, "a", True), (9, "a", True)):
        operator._see([pod(name, ready=ready)])
    operator.killed["a"] = operator.lives[-1].ended_at = 10
    for clock.now, name, ready in ((11, "a", True), (12, "b", False), (15, "b", True), (40, "b", True)):
        operator._see([pod(name, ready=ready)])
    assert operator.working == [Span(3, 10), Span(15, 40)]
    assert operator.backs == [5]
    assert not operator.unasked
    operator.cuts.append(Span(20, 24))
    assert operator.working == [Span(3, 10), Span(15, 20), Span(36, 40)]


def test_an_end_that_nobody_asked_for_is_noticed() -> None:
    operator, clock = watched()
    for clock.now, name in ((1, "a"), (2, "b")):
        operator._see([pod(name, ready=True)])
    assert operator.unasked == ["the operator ended by itself before 2 s: no reason, exit code unknown"]


def test_errors_are_found_in_what_the_node_keeps() -> None:
    log = "\n".join(
        [
            '2026-01-01T00:00:00.0Z stderr F time=x level=info msg="level=fine"',
            "2026-01-01T00:00:00.0Z stderr F time=x level=error msg=broken",
            "2026-01-01T00:00:00.0Z stderr F Traceback (most recent call last):",
        ]
    )
    assert errors(log) == ["time=x level=error msg=broken", "Traceback (most recent call last):"]
