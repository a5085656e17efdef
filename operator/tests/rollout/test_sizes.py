"""How many pods there are when requests move: never fewer than what they need, and none goes before its requests do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.observed import Crash
from haldane.plan.setbacks import TOO_FEW
from haldane.plan.transitions import ROUTE_SETTLE

from .test_crash_loops import OOM, changed

SETTLE = round(ROUTE_SETTLE.total_seconds())
WHILE = round(TOO_FEW.total_seconds())
GROWN = 12


def grown_in_the_watch(world: Any) -> tuple[str, str]:
    """Version 2 took over from two pods, and an autoscaler has made twelve of its own since; the two revisions."""
    world.spec["rollout"] |= {"keepStableFor": "10m", "watchAfterPromotion": "10m"}
    old, new = world.serving, world.deploy("2")
    world.run_until("Watching")
    world.run(8)
    world.spec["scaling"] = {"minReplicas": 2, "maxReplicas": 20}
    world.autoscaled.add(new)
    world.pods[new] = [world.now] * GROWN
    world.run(5)
    assert (world.ready(old), world.ready(new)) == (2, GROWN)
    return old, new


def undo(world: Any, how: str) -> None:
    if how == "a mild fault":
        world.behaviours["2"].error_rate = 0.03
    elif how == "slow answers":
        world.behaviours["2"].latency = 0.5
    elif how == "the spec set back":
        world.deploy("1")
    else:
        world.annotations["haldane.dev/abort"] = "now"


@pytest.mark.parametrize("how", ["a mild fault", "slow answers", "the spec set back", "abort"])
def test_an_undo_waits_for_the_pods_that_the_traffic_needs(world: Any, how: str) -> None:
    old, new = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 20.0
    undo(world, how)
    world.run_until("RollingBack", 120)
    assert world.serving == new
    world.run(60, lambda w: w.serving == old)
    assert (world.serving, world.ready(old)) == (old, GROWN)
    world.run_until("Stable", 60)
    assert world.version("stable") == "1"


def test_errors_beyond_the_abort_limit_are_worse_than_too_few_pods(world: Any) -> None:
    old, _ = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 20.0
    world.behaviours["2"].error_rate = 0.5
    world.run_until("RollingBack", 60)
    assert (world.serving, world.ready(old)) == (old, 2)
    assert len(world.pods[old]) == GROWN, "the others are asked for"


WAITED = [("a mild fault", 8), ("the spec set back", 20), ("the spec set back", 60)]


@pytest.mark.parametrize(("how", "waited"), WAITED)
def test_so_are_errors_that_grow_beyond_it_while_pods_are_awaited(world: Any, how: str, waited: int) -> None:
    old, new = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 100.0
    undo(world, how)
    world.run_until("RollingBack", 120)
    checks = world.status["rollout"]["checks"]
    world.run(waited)
    assert (world.serving, world.status["rollout"]["checks"]) == (new, checks), "a mild fault waits, as it was found"
    world.behaviours["2"].error_rate = 0.8
    world.run(20)
    assert (world.serving, world.ready(old)) == (old, 2)
    assert world.events[-1].reason == "PartlyRestored"
    assert "2 of 12 pods of version 1 are ready" in world.events[-1].message
    assert "beyond the abort limit 20%" in world.events[-1].message


def test_so_are_pods_that_are_all_gone(world: Any) -> None:
    old, _ = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 20.0
    world.behaviours["2"].crashed = True
    world.run_until("RollingBack", 10)
    assert (world.serving, world.ready(old)) == (old, 2)


@pytest.mark.parametrize("how", ["a mild fault", "slow answers", "abort"])
def test_what_is_bad_is_not_kept_for_want_of_a_part_of_the_pods(world: Any, how: str) -> None:
    old, new = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 1000.0
    undo(world, how)
    world.run_until("RollingBack", 120)
    world.run(WHILE - 3)
    assert world.serving == new
    world.run(5)
    assert (world.serving, world.ready(old)) == (old, 2)


def test_pods_that_come_one_after_the_other_have_time_from_when_the_first_is_ready(world: Any) -> None:
    world.spec["scaling"]["minReplicas"] = 4
    world.spec["rollout"] |= {"keepStableFor": "1s", "watchAfterPromotion": "10m"}
    world.run(10)
    old, new = world.serving, world.deploy("2")
    world.run_until("Watching")
    world.run(20)
    assert old not in world.pods
    world.behaviours["1"].starts_in = 60.0
    world.behaviours["2"].latency = 0.5
    world.run_until("RollingBack", 60)
    world.pods[old] = [world.now + timedelta(seconds=after) for after in (60, 70, 80, 1000)]
    world.run(79)
    assert (world.serving, world.ready(old)) == (new, 2)
    world.run(4)
    assert (world.serving, world.ready(old)) == (old, 3), "three quarters suffice"


def test_one_of_them_that_is_missing_is_not_waited_for(world: Any) -> None:
    world.spec["scaling"]["minReplicas"] = 4
    world.run(10)
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.pods[old][0] += timedelta(hours=1)
    world.deploy("1")
    world.run(2)
    assert world.serving == old


def test_what_nothing_was_found_against_waits_until_it_crashes_again_and_again(world: Any) -> None:
    old, new = grown_in_the_watch(world)
    world.behaviours["1"].starts_in = 1000.0
    undo(world, "the spec set back")
    world.run(60)
    assert (world.phase, world.serving) == ("RollingBack", new)
    crashes = tuple(Crash(node, world.now, world.now, True, OOM) for node in ("n1", "n2"))
    changed(world, "2", lambda pods: replace(pods, crashes=crashes))
    world.run(3)
    assert (world.serving, world.ready(old)) == (old, 2)


@pytest.mark.parametrize("to", [20, 0])
def test_pods_stay_until_a_weight_that_was_lowered_has_settled(world: Any, to: int) -> None:
    world.spec["scaling"]["minReplicas"] = 10
    world.spec["rollout"]["steps"][1]["hold"] = "10m"
    world.run(10)
    candidate = world.deploy("2")
    world.run(200, lambda w: w.status["rollout"]["weight"] == 50)
    world.run(8)
    assert len(world.pods[candidate]) == 5
    world.spec["rollout"]["steps"][1]["weight"] = to
    world.annotations["haldane.dev/pause"] = "look"
    world.one_pass()
    assert (world.route_weight, len(world.pods[candidate])) == (50, 5), "a pause holds, and what it holds has its pods"
    del world.annotations["haldane.dev/pause"]
    world.run(5, lambda w: w.route_weight == to)
    for _ in range(SETTLE - 1):
        world.run(1)
        assert len(world.pods[candidate]) == 5, "proxies may lead to them yet"
    world.run(5)
    assert len(world.pods[candidate]) == max(1, to // 10)


@pytest.mark.parametrize("harm", ["deleted", "scaled to 0"])
def test_an_autoscaled_stable_is_made_again_as_large_as_it_was(world: Any, harm: str) -> None:
    stable = world.serving
    world.spec["scaling"] = {"minReplicas": 2, "maxReplicas": 20}
    world.autoscaled.add(stable)
    world.pods[stable] = [world.now] * GROWN
    world.run(5)
    if harm == "deleted":
        del world.pods[stable]
    else:
        world.pods[stable] = []
    world.run(3)
    assert world.status["stable"]["replicas"] == GROWN
    if harm == "deleted":
        assert len(world.pods[stable]) == GROWN
    world.spec["scaling"]["maxReplicas"] = 8
    del world.pods[stable]
    world.run(3)
    assert len(world.pods[stable]) == 8, "and no larger than spec allows now"
