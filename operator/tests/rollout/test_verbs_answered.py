"""Every value of a verb is answered, also one that has to wait, comes together with another, or asks for the same again soon."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.plan.verbs import ANSWERS


def ask(world: Any, **verbs: str | None) -> None:
    """Set or remove annotations as alice."""
    for verb, value in verbs.items():
        if value is None:
            del world.annotations[f"haldane.dev/{verb}"]
        else:
            world.annotations[f"haldane.dev/{verb}"] = value
            world.managers[verb] = "haldane:alice"


def said(world: Any, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


@pytest.fixture
def alone(world: Any) -> Any:
    """A candidate with 5 % that cannot go back, because stable hangs."""
    world.deploy("2")
    world.run_until("Progressing")
    world.behaviours["1"].hangs = True
    return world


class TestAnAbortThatWaits:
    def test_says_so_once_and_what_became_of_it(self, alone: Any) -> None:
        ask(alone, abort="1")
        alone.run(20)
        why = "weight 5%: not going back yet, no pod of version 1 is ready"
        assert said(alone, "AbortWaits") == [f"The abort by alice waits: {why}."]
        assert alone.status["verbs"] == {"abort-waits": "1"}
        alone.behaviours["1"].hangs = False
        alone.run(2)
        assert said(alone, "Aborted") == ["Version 2: aborted by alice."]
        assert alone.status["verbs"] == {"abort": "1"}

    def test_each_new_value_is_answered(self, alone: Any) -> None:
        ask(alone, abort="1")
        alone.run(2)
        ask(alone, abort="2")
        alone.run(2)
        assert len(said(alone, "AbortWaits")) == 2

    def test_is_withdrawn_with_its_annotation(self, alone: Any) -> None:
        ask(alone, abort="1", pause="INC-1")
        alone.run(2)
        ask(alone, abort=None)
        alone.run(2)
        assert alone.status["verbs"] == {"pause": "INC-1"}
        ask(alone, pause=None)
        alone.behaviours["1"].hangs = False
        alone.run_until("Watching")

    @pytest.mark.parametrize("later", [0, 3])
    def test_a_promotion_beside_it_is_answered_and_lies_in_wait_for_nothing(self, alone: Any, later: int) -> None:
        ask(alone, abort="1")
        alone.run(later)
        ask(alone, promote="1")
        alone.run(5)
        assert said(alone, "NothingToPromote") == ["Nothing to promote by alice: the rollout is aborted."]
        assert alone.status["verbs"] == {"abort-waits": "1", "promote": "1"}
        ask(alone, abort="false")
        alone.behaviours["1"].hangs = False
        alone.run(5)
        assert (alone.phase, alone.status["rollout"]["weight"]) == ("Progressing", 5)


def test_nothing_to_abort_is_no_reason_against_a_promotion(world: Any) -> None:
    ask(world, abort="1", promote="1")
    world.run(2)
    assert said(world, "NothingToPromote") == ["Nothing to promote by alice: no candidate is waiting."]


def test_every_answer_is_told_each_time(world: Any) -> None:
    for value in ("INC-1", "false", "INC-1"):
        ask(world, pause=value)
        world.run(2)
    told = [event for event in world.events if event.reason in ANSWERS]
    assert [event.reason for event in told] == ["Paused", "Resumed", "Paused"]
    assert all(event.is_answer for event in told)
    world.deploy("2")
    ask(world, pause=None)
    world.run_until("Progressing")
    ask(world, abort="1")
    world.run(2)
    assert {event.reason: event.is_answer for event in world.events} == {
        **dict.fromkeys(("Paused", "Resumed", "Aborted"), True),
        **dict.fromkeys(("RolloutStarted", "WeightChanged"), False),
    }


class TestAPromotionThatLosesItsPods:
    @pytest.fixture
    def promoted(self, world: Any) -> Any:
        """A rollout whose steps a person has skipped, at weight 100, whose pods have just gone."""
        world.spec["rollout"]["steps"][0] = {"weight": 5, "hold": "10m", "approval": True}
        world.deploy("2")
        world.run_until("Progressing")
        world.run(5)
        ask(world, promote="now")
        world.run(60, lambda w: w.status["rollout"]["weight"] == 100)
        world.behaviours["2"].hangs = True
        world.run(2)
        return world

    def test_goes_on_when_they_are_back(self, promoted: Any) -> None:
        assert (promoted.phase, promoted.status["rollout"]["weight"]) == ("Promoting", 0)
        assert said(promoted, "CandidateLost") == ["Weight set to 0%: no pod of the candidate is ready."]
        promoted.run(20)
        promoted.behaviours["2"].hangs = False
        promoted.run_until("Watching", 30)
        assert promoted.weights == [0, 5, 100, 0, 100, 0]
        message = promoted.status["history"][-1]["message"]
        assert message == "version 2 was promoted by alice at weight 5%, before it had passed every step"

    def test_waits_for_them_until_its_deadline(self, promoted: Any) -> None:
        promoted.run_until("RollingBack", 130)
        assert promoted.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"

    def test_does_not_come_and_go_for_ever(self, promoted: Any) -> None:
        for _ in range(200):
            promoted.behaviours["2"].hangs = False
            promoted.run(4)
            promoted.behaviours["2"].hangs = True
            promoted.run(4)
            if promoted.status["rejected"]:
                break
        assert promoted.status["rejected"][0]["reason"] == "CandidateLost"


def test_pods_that_are_lost_after_every_step_has_passed_bring_the_step_again(world: Any) -> None:
    world.deploy("2")
    world.run_until("Promoting")
    world.run(20, lambda w: w.status["rollout"]["weight"] == 100)
    world.behaviours["2"].hangs = True
    world.run(2)
    assert world.phase == "Preparing"
    world.behaviours["2"].hangs = False
    world.run_until("Watching")
    assert world.weights == [0, 5, 50, 100, 0, 50, 100, 0]
