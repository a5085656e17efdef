"""What could go on for ever, or by itself: pods that flap, steps that are edited, tokens, pauses, a new spec too soon."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.setbacks import REJECTED_LIMIT

from .lying import LyingWorld
from .world import SPEC

RETRY = "haldane.dev/retry"


def reasons(world: Any) -> list[str]:
    return [event.reason for event in world.events]


def rejected(world: Any) -> Any:
    """Version 2 was tried and found bad."""
    world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("RollingBack")
    world.run_until("Stable")
    world.events.clear()
    return world


@pytest.mark.parametrize("ready_for", [1, 12], ids=["at once", "in its hold"])
def test_pods_that_come_and_go_are_waited_for_no_longer_than_the_step_may_last(world: Any, ready_for: int) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    pods, first = world.behaviours["2"], world.now
    while world.phase in ("Progressing", "Preparing") and world.now - first < timedelta(minutes=10):
        pods.hangs = False
        world.run_until("Progressing")
        world.run(ready_for)
        pods.hangs = True
        world.run(3)
    assert world.phase == "RollingBack"
    assert timedelta(minutes=2) < world.now - first < timedelta(minutes=3)
    assert world.status["rejected"][0]["reason"] == "CandidateLost"


def test_pods_that_are_lost_again_have_as_long_to_come_back_as_the_first_time(world: Any) -> None:
    world.spec["rollout"]["steps"] = [{"weight": 5, "hold": "10m"}]
    world.deploy("2")
    for _ in range(2):
        world.run_until("Progressing")
        world.run(150)
        world.behaviours["2"].hangs = True
        world.run(100)
        world.behaviours["2"].hangs = False
    world.run_until("Watching", 1500)


@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen"])
def test_pods_that_are_lost_in_every_promotion_are_not_promoted_for_ever(world: Any, strategy: str) -> None:
    world.spec["rollout"]["strategy"] = strategy
    old = world.serving
    world.deploy("2")
    pods, first, losses = world.behaviours["2"], None, 0
    while world.phase != "RollingBack" and losses < 40:
        world.run(900, lambda w: w.phase == "RollingBack" or (w.phase == "Promoting" and w.route_weight == 100))
        if world.phase == "RollingBack":
            break
        first, losses, pods.hangs = first or world.now, losses + 1, True
        world.run(2)
        assert (world.route_weight, world.ready(old)) == (0, 2), "stable takes everything at once, by pods that it kept"
        pods.hangs = False
    assert losses > 1, "one loss is forgiven"
    assert world.status["rejected"][0]["reason"] == "CandidateLost"
    assert "not for the first time since" in world.status["rejected"][0]["message"]
    hold = timedelta(seconds=20 if strategy == "Canary" else 0)
    assert timedelta(minutes=2) + hold < world.now - first < timedelta(minutes=3) + hold
    world.run_until("Stable")
    assert (world.version("stable"), world.ready(old)) == ("1", 2)


def test_a_loss_that_a_pause_came_after_is_forgotten(world: Any) -> None:
    world.spec["rollout"]["steps"] = [{"weight": 5, "hold": "10s", "approval": True}]
    world.deploy("2")
    world.run_until("Progressing")
    for _ in range(2):
        world.behaviours["2"].hangs = True
        world.run(2)
        world.behaviours["2"].hangs = False
        world.run_until("Progressing")
        world.annotations["haldane.dev/pause"] = "INC"
        world.run(200)
        del world.annotations["haldane.dev/pause"]
        world.run(2)
    assert (world.phase, world.status["rejected"]) == ("Progressing", [])


def test_a_current_step_that_is_edited_to_weight_0_goes_on(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.run(5)
    world.spec["rollout"]["steps"].insert(0, {"weight": 0, "hold": "20s"})
    world.run(2)
    assert world.status["rollout"]["weight"] == 0
    world.run_until("Watching")


def test_a_step_waits_for_enough_requests_and_not_for_few_when_a_header_brings_more(world: Any) -> None:
    world.spec["traffic"]["ingress"]["previewHeader"] = "X-Preview"
    world.previewed = 50.0
    world.deploy("2")
    world.run_until("Watching")


def test_false_asks_for_no_retry(world: Any) -> None:
    rejected(world).annotations[RETRY] = "false"
    world.run(5)
    assert reasons(world) == []


def test_the_same_token_asks_again_after_it_was_taken_away(world: Any) -> None:
    world.annotations[RETRY] = "1"
    rejected(world).run(5)
    assert reasons(world) == []
    del world.annotations[RETRY]
    world.run(5)
    assert reasons(world) == []
    world.annotations[RETRY] = "1"
    world.run(5)
    assert "Retried" in reasons(world)


def test_what_spec_asks_for_stays_rejected_however_many_others_were_since(world: Any) -> None:
    entry = rejected(world).status["rejected"][0]
    world.run(1)
    world.deploy("3")
    world.run_until("Watching")
    others = [{**entry, "revision": f"{number:010d}"} for number in range(REJECTED_LIMIT - 1)]
    world.status["rejected"] = [entry, *others]
    world.rejections.known |= {other["revision"] for other in others}
    world.deploy("2")
    world.behaviours["3"].error_rate = 1.0
    world.run_until("RollingBack")
    found = [r["version"] for r in world.status["rejected"]]
    assert (len(found), found[-2:]) == (REJECTED_LIMIT, ["2", "3"])


def test_a_candidate_that_a_gate_refuses_goes_back_while_paused(world: Any) -> None:
    world.gates = True
    world.deploy("2")
    world.behaviours["2"].classes = 7
    world.run(1)
    world.annotations["haldane.dev/pause"] = "INC"
    world.run(60)
    assert world.status["rejected"][0]["reason"] == "SignatureChanged"


@pytest.mark.parametrize("lag", [0, 2])
def test_a_new_spec_right_after_a_promotion_waits_until_the_route_has_settled(lag: int) -> None:
    world = LyingWorld(copy.deepcopy(SPEC))
    world.deploy("1")
    world.run_until("Stable")
    world.proxy_lag = lag
    world.deploy("2")
    world.run_until("Watching")
    before = world.stranded
    world.deploy("3")
    world.run_until("Progressing")
    assert world.stranded == before
