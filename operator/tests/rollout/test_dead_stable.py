"""Stable has lost its pods for good in the middle of a rollout: nothing waits for it without end, least of all the fix."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from haldane.plan.status import compose

from .lying import LyingWorld
from .world import SPEC, Behaviour

DEADLINE = 120
"""Seconds: `progressDeadline` of the worlds here."""
ALONE = 30
"""Seconds until stable counts as lost."""


@pytest.fixture(params=[True, False], ids=["with a route", "without"])
def lying(request: pytest.FixtureRequest) -> LyingWorld:
    """Version 1 serves with four pods, version 2 is at 50 %, and every pod of version 1 has just gone for good."""
    world = LyingWorld(copy.deepcopy(SPEC), proxy_lag=3)
    world.spec["scaling"]["minReplicas"] = 4
    world.spec["rollout"]["steps"][1]["hold"] = "5m"
    if not request.param:
        del world.spec["traffic"]
    world.deploy("1")
    world.run(20)
    world.deploy("2")
    world.run(120, lambda w: w.status["rollout"]["weight"] == 50)
    world.run(8)
    world.events.clear()
    world.harm(lambda: setattr(world.behaviours["1"], "never_ready", True))
    return world


def reasons(world: Any) -> list[str]:
    return [event.reason for event in world.events]


def rejected(world: Any) -> list[tuple[str, str]]:
    return [(entry["version"], entry["reason"]) for entry in world.status.get("rejected", [])]


def test_the_fix_is_rolled_out_beside_what_serves(lying: LyingWorld) -> None:
    bad = lying.status["candidate"]["revision"]
    lying.behaviours["2"] = Behaviour(error_rate=0.5)
    lying.run(10)
    fix = lying.deploy("3")
    lying.run(ALONE + 20, lambda w: w.version("candidate") == "3")
    assert (lying.version("stable"), lying.version("candidate")) == ("2", "3")
    assert lying.ready(bad) == 4, "it has the pods to serve alone before it has to"
    assert rejected(lying) == [("2", "CheckFailed")]
    lying.run(300, lambda w: w.serving == fix)
    lying.run_until("Stable", 100)
    assert (lying.version("stable"), list(lying.pods)) == ("3", [fix])
    assert rejected(lying) == [("2", "CheckFailed")], "what was found wrong with it stays known"


def test_a_version_that_is_superseded_alone_is_not_to_blame(lying: LyingWorld) -> None:
    lying.deploy("3")
    lying.run(ALONE + 20, lambda w: w.version("candidate") == "3")
    assert (lying.version("stable"), lying.version("candidate"), rejected(lying)) == ("2", "3", [])


def test_a_bad_fix_goes_back_to_what_served(lying: LyingWorld) -> None:
    lying.behaviours["3"] = Behaviour(error_rate=0.9)
    lying.deploy("3")
    lying.run(ALONE + 20, lambda w: w.version("candidate") == "3")
    lying.run_until("Stable", 200)
    assert (lying.version("stable"), rejected(lying)) == ("2", [("3", "CheckFailed")])


@pytest.mark.parametrize("ending", ["a failed check", "the spec set back", "abort", "a deadline"])
def test_what_alone_has_pods_serves_everything_and_stable_is_awaited(lying: LyingWorld, ending: str) -> None:
    alone = lying.status["candidate"]["revision"]
    end(lying, ending)
    lying.run(DEADLINE + 30, lambda w: w.serving == alone)
    lying.run(5)
    assert (lying.version("stable"), lying.version("previous")) == ("2", "1")
    assert lying.counts[-1].get(alone, (0,))[0] == lying.rate, "no request goes where no pod is"
    assert "TookOver" in reasons(lying)
    lying.behaviours["1"].never_ready = False
    lying.run(10, lambda w: w.version("stable") == "1")
    assert (lying.version("stable"), lying.phase) == ("1", "RollingBack"), "stable is back"
    lying.run_until("Stable", 60)
    assert bool(rejected(lying)) == (ending != "the spec set back")


@pytest.mark.parametrize("ending", ["a failed check", "the spec set back", "abort"])
def test_the_wait_for_stable_has_an_end(lying: LyingWorld, ending: str) -> None:
    end(lying, ending)
    lying.run(3 * (DEADLINE + 30), lambda w: w.phase == "Stable" and "UndoFailed" in reasons(w))
    assert (lying.phase, lying.version("stable")) == ("Stable", "2")
    lying.run(DEADLINE + 60)
    assert (lying.phase, lying.version("stable")) == ("Stable", "2")
    # What spec asks for was tried again by a rollout of its own, when it was version 1.
    expected = {
        "a failed check": [("2", "CheckFailed")],
        "the spec set back": [("1", "ProgressDeadlineExceeded")],
        "abort": [("2", "Aborted")],
    }
    assert rejected(lying) == expected[ending]
    last = {"a failed check": ("2", "RolledBack"), "the spec set back": ("1", "RolledBack"), "abort": ("2", "Aborted")}
    found = [(entry["version"], entry["outcome"]) for entry in lying.status["history"]]
    assert found[-1] == last[ending]
    # To go on for want of another is no promotion, unless nothing was found against it.
    assert (("2", "Promoted") in found) == (ending == "the spec set back")


def test_what_serves_for_want_of_stable_is_not_told_to_be_rolled_back(lying: LyingWorld) -> None:
    end(lying, "a failed check")
    lying.run(DEADLINE, lambda w: w.version("stable") == "2")
    told = compose(lying.md, lying.md.status, lying.observe(), lying.now).conditions
    ready = next(each for each in told if each.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "RolledBack")
    assert ready.message.startswith("Going back to version 1 when its pods are ready: version 2 serves alone.")
    assert "Version 2 is to go: check errors failed" in ready.message
    assert "was rolled back" not in ready.message


@pytest.mark.parametrize("weight", [0, 20])
def test_a_weight_that_is_edited_is_lowered_when_stable_is_back(lying: LyingWorld, weight: int) -> None:
    lying.spec["rollout"]["steps"][1]["weight"] = weight
    lying.run(ALONE + 20)
    assert (lying.phase, lying.status["rollout"]["weight"]) == ("Progressing", 50)
    assert "not lowered to" in lying.status["rollout"]["message"]
    lying.behaviours["1"].never_ready = False
    lying.run(5)
    assert lying.status["rollout"]["weight"] == weight


def test_a_person_may_promote_what_alone_has_pods(lying: LyingWorld) -> None:
    lying.behaviours["2"].error_rate = 0.1
    lying.annotations["haldane.dev/promote"] = "now"
    lying.run(ALONE + 20, lambda w: w.version("stable") == "2")
    assert lying.version("stable") == "2"


def test_it_is_not_made_to_serve_alone_with_too_few_pods_while_more_may_come(lying: LyingWorld) -> None:
    lying.behaviours["2"].starts_in = 500.0
    lying.spec["scaling"]["minReplicas"] = 8
    lying.deploy("3")
    lying.run(DEADLINE - 5)
    assert "not going back yet" in lying.status["rollout"]["message"]
    lying.run(30, lambda w: w.version("stable") == "2")
    assert lying.version("stable") == "2", "but not for longer than the deadline"


def test_stable_that_comes_back_soon_is_gone_back_to(lying: LyingWorld) -> None:
    lying.deploy("3")
    lying.run(ALONE - 10)
    lying.behaviours["1"].never_ready = False
    lying.run(5)
    assert (lying.version("stable"), "TookOver" in reasons(lying)) == ("1", False)


def end(world: LyingWorld, ending: str) -> None:
    if ending == "a failed check":
        world.behaviours["2"].error_rate = 0.5
    elif ending == "the spec set back":
        world.deploy("1")
    elif ending == "abort":
        world.annotations["haldane.dev/abort"] = "now"
    else:
        world.prometheus_down = "connection refused"
        world.spec["rollout"]["analysis"]["onInconclusive"] = "Rollback"
        world.spec["rollout"]["steps"][1]["hold"] = "5s"
