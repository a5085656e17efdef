"""The moments in status: which may stand in which phase, when a wait begins anew, and what an older operator left of them."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any, get_args

import pytest

from haldane.api.status import Phase, RolloutStatus

from .lying import LyingWorld
from .moments import MAY_STAND, MOMENTS, examine_moments
from .world import SPEC

DEADLINE = 120
PROMOTE = "haldane.dev/promote"


@pytest.fixture
def lying() -> LyingWorld:
    """Version 1 serves, and version 2 has just been asked for."""
    made = LyingWorld(copy.deepcopy(SPEC))
    made.deploy("1")
    made.run(20)
    made.deploy("2")
    return made


def lose_pods(world: LyingWorld) -> None:
    """The candidate's pods are gone, and no others may be made."""
    world.refused = frozenset({"Deployment"})
    pods = world.pods[world.status["candidate"]["revision"]]
    world.harm(pods.clear)


def test_the_table_names_every_phase_and_every_moment() -> None:
    assert set(MAY_STAND) == set(get_args(Phase))
    assert set().union(*MAY_STAND.values()) == MOMENTS


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_each_moment_stands_in_its_phases_alone(world: Any, phase: Phase, name: str) -> None:
    left = RolloutStatus(phase=phase, **{name: world.now})
    if name in MAY_STAND[phase]:
        examine_moments(left, left)
    else:
        with pytest.raises(AssertionError, match=name):
            examine_moments(left, left)


@pytest.mark.parametrize(("is_promoted", "deadlines"), [(False, 2), (True, 1)])
def test_pods_that_were_lost_are_asked_for_anew_for_a_step_and_not_for_a_promotion(
    lying: LyingWorld, is_promoted: bool, deadlines: int
) -> None:
    lying.run_until("Progressing")
    if is_promoted:
        lying.annotations[PROMOTE] = "now"
    lying.run(60, lambda w: w.status["rollout"]["weight"] == (100 if is_promoted else 50))
    lose_pods(lying)
    lying.run(deadlines * DEADLINE - 20)
    assert lying.phase == ("Promoting" if is_promoted else "Preparing")
    lying.run(50)
    assert lying.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"


def test_a_handover_is_asked_for_anew_after_a_deadline_that_passed_unseen(lying: LyingWorld) -> None:
    lying.run(200, lambda w: "letting the route settle" in w.status["rollout"]["message"])
    lying.refused = frozenset({"Service"})
    for _ in range(10):
        lying.now, lying.second = lying.now + timedelta(seconds=1), lying.second + 1
        lying.one_pass()
        if lying.version("previous") == "1":
            break
    lying.now, lying.passed = lying.now + timedelta(hours=1), None  # it died when it had decided so
    lying.run(DEADLINE - 10)
    assert lying.phase == "Promoting", "it has the whole deadline"
    lying.run(30)
    assert lying.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"


def test_a_service_that_an_older_operator_led_back_stays_there(lying: LyingWorld) -> None:
    lying.run_until("Promoting")
    lying.refused = frozenset({"Ingress"})
    lying.run(10)
    lying.annotations["haldane.dev/abort"] = "now"
    lying.run(10, lambda w: w.status["rollout"].get("ledBackAt"))
    assert (lying.phase, lying.behind, lying.route_weight) == ("RollingBack", lying.serving, 50)
    for name in ("ledBackAt", "routeAwaitedAt"):
        lying.status["rollout"].pop(name, None)
    lying.run(1)
    assert (lying.behind, lying.status["rollout"].get("ledBackAt") is not None) == (lying.serving, True)
    lying.run_until("Stable", 20)


AWAITED = ("stepStartedAt",)
MARKED = ("stepStartedAt", "lostAt")


@pytest.mark.parametrize(
    ("phase", "names", "ends"),
    [
        pytest.param("Preparing", AWAITED, "2", id="pods that were asked for anew"),
        pytest.param("Promoting", AWAITED, "2", id="a route that is waited for"),
        pytest.param("Promoting", MARKED, "2", id="and pods that were asked for anew"),
        pytest.param("Watching", AWAITED, "2", id="a route before the next rollout"),
        pytest.param("RollingBack", AWAITED, "1", id="a route that does not follow"),
        pytest.param("RollingBack", MARKED, "1", id="and pods that are back"),
    ],
)
def test_a_status_in_which_one_moment_meant_several_is_read_and_ends_well(
    world: Any, phase: str, names: tuple[str, ...], ends: str
) -> None:
    world.deploy("2")
    if ends == "1":
        world.run_until("Progressing")
        world.behaviours["2"].error_rate = 1.0
    world.run_until(phase)
    world.status["rollout"] |= dict.fromkeys(names, world.status["rollout"]["phaseStartedAt"])
    world.run_until("Stable")
    assert world.version("stable") == ends
    rollout = world.md.status.rollout
    examine_moments(rollout, rollout)
