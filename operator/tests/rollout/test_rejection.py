"""What a retry lifts: one rejection, that of the version which the spec asks for when its value comes, and only once."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.plan.status import compose

from .world import Behaviour

RETRY = "haldane.dev/retry"


def rejected(world: Any, *versions: str) -> None:
    """Let versions fail one after the other; stable serves after it."""
    for version in versions:
        world.deploy(version)
        world.behaviours[version].error_rate = 0.5
        count = len(world.status.get("rejected", []))
        world.run(200, lambda w, n=count: w.phase == "Stable" and len(w.status.get("rejected", [])) > n)
    assert [entry["version"] for entry in world.status["rejected"]][-len(versions) :] == list(versions)


def stays(world: Any, version: str) -> bool:
    """Whether a version that is applied again stays rejected, with no Event that says otherwise."""
    told = len(world.events)
    world.deploy(version)
    world.run(30)
    return world.phase == "Stable" and {"Retried", "RolloutStarted"}.isdisjoint(e.reason for e in world.events[told:])


@pytest.fixture
def two(world: Any) -> Any:
    """Versions 2 and 3 are rejected, and the spec asks for 3."""
    rejected(world, "2", "3")
    return world


def test_a_retry_lifts_no_other_rejection(two: Any) -> None:
    two.behaviours["3"].error_rate = 0
    two.annotations[RETRY] = "t1"
    two.run_until("Watching")
    two.run_until("Stable")
    assert [(entry["version"], entry["retry"]) for entry in two.status["rejected"]] == [("2", "t1")]
    assert stays(two, "2")
    two.annotations[RETRY] = "t2"
    two.run_until("RollingBack")


def test_a_retry_of_what_was_never_rejected_lifts_nothing_later(two: Any) -> None:
    two.deploy("4")
    two.annotations[RETRY] = "t1"
    two.run(1)
    assert [event.reason for event in two.events].count("NothingToRetry") == 1
    two.run_until("Watching")
    two.run_until("Stable")
    assert stays(two, "2")
    assert stays(two, "3")


def test_a_retry_that_waits_is_for_the_version_that_it_came_for(two: Any) -> None:
    two.annotations |= {RETRY: "t1", "haldane.dev/pause": "true"}
    two.run(5)
    two.annotations["haldane.dev/pause"] = "false"
    assert stays(two, "2")
    two.deploy("3")
    two.run_until("Preparing", 5)


def test_a_retry_that_waits_is_spent_once_another_version_is_rolled_out(two: Any) -> None:
    two.annotations |= {RETRY: "t1", "haldane.dev/pause": "true"}
    two.run(5)
    two.deploy("4")
    two.annotations["haldane.dev/pause"] = "false"
    two.run_until("Watching")
    two.run_until("Stable")
    assert stays(two, "3")


def test_a_value_of_earlier_asks_anew_after_another(two: Any) -> None:
    two.annotations[RETRY] = "t1"
    two.run_until("RollingBack")
    two.run_until("Stable")
    two.annotations |= {RETRY: "t2", "haldane.dev/pause": "true"}
    two.run(2)
    two.annotations[RETRY] = "t1"
    two.run(2)
    del two.annotations["haldane.dev/pause"]
    two.run_until("Preparing", 5)


@pytest.mark.parametrize("then", ["3", "1"])
@pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Promoting"])
def test_what_proved_nothing_in_its_retry_stays_rejected(world: Any, phase: str, then: str) -> None:
    rejected(world, "2")
    reason = world.status["rejected"][0]["message"]
    world.behaviours["2"].error_rate = 0
    world.annotations[RETRY] = "t1"
    world.run_until(phase)
    told = compose(world.md, world.md.status, world.observe(), world.now)
    assert told.conditions[0].reason == "Progressing"
    del world.annotations[RETRY]  # ends nothing that has begun
    world.run(2)
    assert world.phase == phase
    world.deploy(then)
    world.run_until("RollingBack", 5)
    world.run(300, lambda w: w.phase == "Stable" and w.version("stable") == then)
    assert stays(world, "2")
    assert [entry["message"] for entry in world.status["rejected"]] == [reason]


@pytest.mark.parametrize(
    ("behaviour", "refusal", "rules"),
    [
        ({"classes": 12}, {}, {"allowSignatureChange": True}),
        ({"idle": 0.9}, {}, {"smokeLatency": "1s"}),
        ({"idle": 0.9}, {"smokeLatency": "500ms"}, {"smokeLatency": "1s"}),
        ({"latency": 0.4}, {}, {"checks": [{"name": "p99", "latency": {"quantile": "0.99", "max": "500ms"}}]}),
    ],
)
def test_other_rules_of_the_rollout_are_for_the_retry_that_the_refusal_speaks_of(
    world: Any, behaviour: dict[str, Any], refusal: dict[str, Any], rules: dict[str, Any]
) -> None:
    world.gates = True
    world.spec["rollout"] |= refusal
    world.deploy("2")
    world.behaviours["2"] = Behaviour(**behaviour)
    world.run(200, lambda w: w.phase == "Stable" and w.status.get("rejected"))
    (entry,) = world.status["rejected"]
    told = compose(world.md, world.md.status, world.observe(), world.now).conditions[0]
    if entry["reason"] != "CheckFailed":
        assert f"{next(iter(rules))}" in entry["message"]
        assert entry["message"].endswith(f", and the annotation {RETRY} to a new value")
    assert (
        "to try the same again, also by other rules of spec.rollout, set the annotation haldane.dev/retry"
        in told.message
    )
    world.spec["rollout"] |= rules
    world.run(60)
    assert (world.phase, world.version("candidate")) == ("Stable", None)
    world.annotations[RETRY] = "now"
    world.run_until("Watching")


def test_what_is_promoted_is_rejected_no_more(world: Any) -> None:
    rejected(world, "2")
    world.behaviours["2"].error_rate = 0
    world.annotations[RETRY] = "t1"
    world.run_until("Watching")
    assert world.status["rejected"] == []
    world.deploy("1")
    world.run(120)
    world.deploy("2")
    world.run_until("Watching")


def test_a_second_retry_of_what_is_tried_has_nothing_to_do(world: Any) -> None:
    rejected(world, "2")
    world.annotations[RETRY] = "t1"
    world.run_until("Preparing", 5)
    world.annotations[RETRY] = "t2"
    world.run(1)
    assert [event.message for event in world.events if event.reason == "NothingToRetry"] == [
        "Nothing to retry: version 2 is being rolled out."
    ]
    world.run_until("RollingBack")
    world.run_until("Stable")
    assert stays(world, "2")
