"""A candidate whose pods are ready, and whose Service leads nowhere: no fault of the version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haldane.plan.clock import Instant, in_time
from haldane.plan.status import compose
from haldane.plan.stuck import stuck_events

TAKEN = "Service fraud-candidate belongs to ModelDeployment fraud-candidate"


@pytest.fixture
def unshown(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Version 2 is deployed, and the candidate's Service has no endpoints."""
    seen = type(world).observe
    monkeypatch.setattr(type(world), "observe", lambda self: replace(seen(self), candidate_endpoints={}))
    world.deploy("2")
    return world


def conditions(world: Any, refusal: str | None = None) -> Any:
    told = compose(world.md, world.md.status, world.observe(), world.now, refusal)
    return {condition.type: condition for condition in told.conditions}


def test_what_is_waited_for_is_said(unshown: Any) -> None:
    unshown.run(20)
    message = unshown.status["rollout"]["message"]
    assert message == (
        "waiting for Service fraud-candidate to show the pods of version 2: 1 are ready, none is among its endpoints"
    )
    assert conditions(unshown)["Ready"].reason == "Progressing"


@pytest.mark.parametrize("refusal", [None, TAKEN])
def test_the_version_is_not_rejected_for_it(unshown: Any, refusal: str | None) -> None:
    unshown.run(100)
    before = compose(unshown.md, unshown.md.status, unshown.observe(), unshown.now, refusal)
    unshown.run(100)
    assert (unshown.phase, unshown.status.get("rejected", [])) == ("Preparing", [])
    told = conditions(unshown, refusal)
    assert (told["Stalled"].status, told["Stalled"].reason) == ("True", "ProgressDeadlineExceeded")
    assert (refusal or "kubectl describe service fraud-candidate") in told["Ready"].message
    assert told["Available"].status == "True"
    after = compose(unshown.md, unshown.md.status, unshown.observe(), unshown.now, refusal)
    assert [event.reason for event in stuck_events(before, after)] == ["ProgressDeadlineExceeded"]


def test_it_goes_on_as_soon_as_the_service_leads_there(unshown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unshown.run(300)
    monkeypatch.undo()
    unshown.run_until("Progressing", 5)
    unshown.run_until("Stable", 300)
    assert unshown.version("stable") == "2"


@pytest.mark.parametrize("route", [True, False])
def test_nor_does_a_person_send_requests_to_a_service_without_endpoints(
    unshown: Any, monkeypatch: pytest.MonkeyPatch, route: bool
) -> None:
    if not route:
        del unshown.spec["traffic"]
    unshown.run(20)
    unshown.annotations["haldane.dev/promote"] = "now"
    unshown.run(150)
    assert (unshown.phase, unshown.status["rollout"]["weight"]) == ("Promoting", 0)
    assert "waiting for Service fraud-candidate to show the pods of version 2" in unshown.status["rollout"]["message"]
    assert unshown.status.get("rejected", []) == []
    told = conditions(unshown, TAKEN)
    assert (told["Stalled"].status, told["Stalled"].reason) == ("True", "ProgressDeadlineExceeded")
    assert TAKEN in told["Ready"].message
    monkeypatch.undo()
    unshown.run_until("Watching", 30)


def test_an_operator_that_is_made_anew_tells_it_no_second_time(unshown: Any) -> None:
    def told() -> Any:
        before = unshown.md.status
        after = compose(unshown.md, before, unshown.observe(), unshown.now)
        unshown.status = after.to_wire()
        return stuck_events(before, after)

    unshown.run(200)
    assert [event.reason for event in told()] == ["ProgressDeadlineExceeded"]
    for _ in range(2):
        unshown.status = in_time(unshown.md, Instant(unshown.now, 0.0), None).status.to_wire()
        unshown.run(2)
        assert told() == ()
        assert conditions(unshown)["Stalled"].status == "True"
        unshown.run(40)
        assert told() == ()


def test_another_spec_ends_the_wait(unshown: Any) -> None:
    unshown.run(300)
    unshown.deploy("1")
    unshown.run_until("Stable", 20)
    assert unshown.status.get("rejected", []) == []
