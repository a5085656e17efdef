"""A clock that is set ahead, and an operator that was away: neither decides what only time that somebody waited may."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta

import pytest

from haldane.plan.clock import LAST_CHANCE, LAST_CHANCES

from .lying import LyingWorld
from .world import SPEC, Behaviour

AHEAD = timedelta(minutes=10)
DEADLINE = 120
"""`progressDeadline` of the spec, in seconds."""


def rolling(phase: str, **behaviour: float) -> LyingWorld:
    """Version 1 serves, and version 2 is in a phase of its rollout."""
    world = LyingWorld(copy.deepcopy(SPEC))
    world.deploy("1")
    world.run_until("Stable")
    world.run(5)
    world.behaviours["2"] = Behaviour(**behaviour)  # type: ignore[arg-type]
    world.deploy("2")
    world.run_until(phase)
    return world


def test_it_rejects_nothing_that_waits_for_its_pods() -> None:
    world = rolling("Preparing", starts_in=60.0)
    world.run(5)
    world.skew = AHEAD
    world.run_until("Progressing", 70)
    assert world.status["rejected"] == []


def test_what_is_late_by_both_clocks_is_late() -> None:
    world = rolling("Preparing", starts_in=1000.0)
    world.run(5)
    world.skew = AHEAD
    world.run(DEADLINE - 10)
    assert world.status["rejected"] == []
    world.run(15)
    assert [entry["reason"] for entry in world.status["rejected"]] == ["ProgressDeadlineExceeded"]


def test_it_ends_no_hold_and_no_watch() -> None:
    world = rolling("Progressing")
    world.run(8)
    weight = world.route_weight
    world.skew = AHEAD
    world.run(10)
    assert (world.phase, world.route_weight) == ("Progressing", weight)
    world.run_until("Watching")
    world.skew += AHEAD
    world.run(25)
    assert world.phase == "Watching"
    world.run(15)
    assert world.phase == "Stable"
    assert world.version("stable") == "2"


def test_it_leaves_no_candidate_alone_with_stable_away_for_a_moment() -> None:
    world = rolling("Progressing")
    stable = world.status["stable"]["revision"]
    world.run(3)
    gone = [world.now + timedelta(seconds=12)] * len(world.pods[stable])
    world.harm(lambda: world.pods.__setitem__(stable, gone))
    world.run(2)
    assert world.status["rollout"]["stableLostAt"]
    world.skew = AHEAD
    world.run(20)
    assert "StableUnavailable" not in [event.reason for event in world.events]


@pytest.mark.parametrize("jumps", [False, True])
def test_after_a_long_time_without_an_operator_pods_that_became_ready_count(jumps: bool) -> None:
    world = rolling("Preparing", starts_in=60.0)
    away(world, 600, jumps)
    world.run(3)
    assert world.status["rejected"] == []
    assert world.phase == "Progressing"


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("starts_in", [20, 3600])
def test_pods_that_come_back_with_the_operator_get_a_last_chance_and_no_more(starts_in: int, jumps: bool) -> None:
    world = rolling("Preparing", starts_in=60.0)
    world.run(5)
    candidate = world.status["candidate"]["revision"]
    away(world, 600, jumps)
    world.pods[candidate] = [world.now + timedelta(seconds=starts_in)] * len(world.pods[candidate])
    world.run(round(LAST_CHANCE.total_seconds()) - 2)
    assert world.status["rejected"] == []
    world.run(14)
    rejected = [entry["reason"] for entry in world.status["rejected"]]
    assert (world.phase, rejected) == (
        ("Progressing", []) if starts_in == 20 else ("Stable", ["ProgressDeadlineExceeded"])
    )


@pytest.mark.parametrize("every", [1, 3, 11, 29])
def test_an_operator_that_dies_again_and_again_still_ends_a_wait(every: int) -> None:
    world = rolling("Preparing", starts_in=3600.0)
    dying_every(world, every, DEADLINE + LAST_CHANCES * 30 + 30 + 2 * every)
    assert [entry["reason"] for entry in world.status["rejected"]] == ["ProgressDeadlineExceeded"]
    world.run_until("Stable", 30)
    assert world.version("stable") == "1"


def test_a_wait_that_begins_anew_has_all_its_last_chances_again() -> None:
    world = rolling("Preparing", starts_in=3600.0)
    dying_every(world, 3, DEADLINE, lambda w: w.status["rollout"].get("lastChances") == LAST_CHANCES)
    world.deploy("3")
    world.run_until("Progressing")
    assert "lastChances" not in world.status["rollout"]


@pytest.mark.parametrize("every", [5, 20])
def test_pods_that_come_and_go_are_one_wait_however_often_the_operator_dies(every: int) -> None:
    world = rolling("Progressing")
    begun = world.second

    def flaps(world: LyingWorld) -> bool:
        world.behaviours["2"].never_ready = (world.second - begun) // 8 % 2 == 0
        return bool(world.status["rejected"])

    dying_every(world, every, DEADLINE + LAST_CHANCES * 30 + 60, flaps)
    assert [entry["reason"] for entry in world.status["rejected"]] == ["CandidateLost"]


def test_a_handover_that_was_complete_meanwhile_is_not_undone() -> None:
    world = rolling("Promoting")
    world.run(120, lambda w: w.status.get("candidate") is None)
    assert world.phase == "Promoting"
    away(world, 600, jumps=False)
    world.run_until("Watching", 30)
    assert world.version("stable") == "2"


def away(world: LyingWorld, seconds: int, jumps: bool) -> None:
    """No operator for so long, and its clock set ahead meanwhile."""
    world.dead_until = world.due = world.second + seconds
    world.passed = world.look = None
    world.run(seconds)
    if jumps:
        world.skew += AHEAD


def dying_every(world: LyingWorld, seconds: int, span: int, until: Callable[[LyingWorld], bool] | None = None) -> None:
    """A process that dies so long after it began, and the next one at once, until `until`, asked each second, or for `span`."""
    for second in range(span):
        if until and until(world):
            return
        if second % seconds == 0:
            world.passed = world.look = None
            world.due = world.second
        world.run(1)
