"""What a moment in status says has begun: no other wait, or hold, is taken for it."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.conditions import STALLED
from haldane.plan.status import compose

from .lying import LyingWorld
from .world import SPEC

DEADLINE = 120
HOLD = 20
PAUSE = "haldane.dev/pause"


@pytest.fixture
def lying() -> LyingWorld:
    """Version 1 serves with four pods."""
    made = LyingWorld(copy.deepcopy(SPEC))
    made.spec["scaling"]["minReplicas"] = 4
    made.deploy("1")
    made.run(20)
    return made


def stalled(world: Any) -> str | None:
    """Why `Stalled` is True, if it is."""
    told = compose(world.md, world.md.status, world.observe(), world.now).conditions
    return next((each.reason for each in told if (each.type, each.status) == (STALLED, "True")), None)


def ask_anew(world: LyingWorld) -> None:
    """The second step's pods are not taken by the API server: the wait for them has begun anew."""
    world.deploy("2")
    world.run_until("Progressing")
    world.refused = frozenset({"Deployment"})
    world.run(60, lambda w: w.status["rollout"]["step"] == 1)
    world.run(HOLD + DEADLINE + 30)
    assert world.phase == "Progressing", "they have one more deadline"


def unwritable(world: LyingWorld) -> None:
    """The promotion begins, and nobody may write its route."""
    world.deploy("2")
    world.run_until("Promoting")
    world.refused = frozenset({"Ingress"})


@pytest.mark.parametrize("follows", [True, False])
def test_a_route_is_waited_for_while_paused_until_it_follows(lying: LyingWorld, follows: bool) -> None:
    unwritable(lying)
    lying.run(10)
    assert (lying.status["rollout"]["weight"], lying.route_weight) == (100, 50)
    lying.annotations[PAUSE] = "INC"
    lying.run(5)
    lying.refused = frozenset() if follows else lying.refused
    lying.run(DEADLINE + 20)
    assert (lying.phase, lying.route_weight) == ("Promoting", 100 if follows else 50)
    assert stalled(lying) == (None if follows else "ProgressDeadlineExceeded")
    del lying.annotations[PAUSE]
    lying.refused = frozenset()
    lying.run_until("Watching", 60)


def test_a_route_that_follows_is_not_told_to_be_stuck(lying: LyingWorld) -> None:
    unwritable(lying)
    lying.run(DEADLINE + 20)
    assert stalled(lying) == "ProgressDeadlineExceeded"
    lying.route_weight = 100
    assert stalled(lying) is None


def test_pods_that_are_asked_for_again_begin_no_hold(lying: LyingWorld) -> None:
    ask_anew(lying)
    lying.run(HOLD)
    lying.spec["rollout"]["steps"][1]["weight"] = 5  # there are the pods for it
    lying.run(HOLD - 2)
    assert lying.phase == "Progressing", "the step has its own hold"
    lying.refused = frozenset()
    lying.run_until("Watching", 120)


def test_pods_that_are_asked_for_again_for_a_promotion_are_no_route(lying: LyingWorld) -> None:
    lying.deploy("2")
    lying.run_until("Promoting")
    lying.refused = frozenset({"Deployment"})
    del lying.pods[lying.status["candidate"]["revision"]][2:]
    lying.run(DEADLINE + 20)
    assert lying.phase == "Promoting", "they have one more deadline"
    lying.annotations[PAUSE] = "INC"
    lying.run(DEADLINE + 20)
    assert (lying.phase, stalled(lying)) == ("Promoting", None)
    del lying.annotations[PAUSE]  # which begins the wait anew
    lying.run(2 * (DEADLINE + 20))
    assert lying.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"


def test_pods_that_came_at_last_may_all_be_lost_once_like_any(lying: LyingWorld) -> None:
    ask_anew(lying)
    lying.refused = frozenset()
    assert lying.status["rollout"].get("askedAnewAt")
    lying.run(60, lambda w: w.status["rollout"]["weight"] == 50)
    rollout = lying.status["rollout"]
    assert (rollout.get("askedAnewAt"), rollout.get("lostAt")) == (None, None)


def test_a_first_version_that_is_replaced_waits_for_a_route_and_writes_nothing(
    empty_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = empty_world
    world.run(1)
    (revision,) = world.pods
    world.pods[revision] = [world.now, world.now + timedelta(days=1)]
    observe = world.observe
    monkeypatch.setattr(world, "observe", lambda: replace(observe(), route_weight=50))
    world.deploy("2")
    world.run(1)
    assert "the route still carries weight 50%" in world.status["rollout"]["message"]
    for _ in range(DEADLINE + 10):
        assert not world.one_pass()
        world.now += timedelta(seconds=1)
    assert (world.phase, stalled(world)) == ("Initializing", "ProgressDeadlineExceeded")
    monkeypatch.undo()
    world.run_until("Preparing", 20)
