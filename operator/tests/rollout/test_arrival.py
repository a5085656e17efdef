"""A step's hold begins when the candidate answers about its share, and waits for nothing that nobody judges by."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.observed import Answer


def carries_nothing(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ingress controller takes the weight, and does nothing about it."""
    own = world.traffic

    def traffic() -> None:
        weight, world.route_weight = world.route_weight, 0
        own()
        world.route_weight = weight

    monkeypatch.setattr(world, "traffic", traffic)


@pytest.mark.parametrize("judged", [True, False], ids=["with checks", "without"])
@pytest.mark.parametrize("weight", [1, 5])
def test_a_route_that_carries_nothing_begins_no_hold(
    world: Any, monkeypatch: pytest.MonkeyPatch, weight: int, judged: bool
) -> None:
    world.spec["rollout"]["steps"] = [{"weight": weight, "hold": "20s"}, {"weight": 50, "hold": "20s"}]
    if not judged:
        world.spec["rollout"]["checks"] = []
    carries_nothing(world, monkeypatch)
    world.deploy("2")
    world.run(300)
    rollout = world.status["rollout"]
    assert (rollout["weight"], rollout["observedWeight"], rollout.get("stepStartedAt")) == (weight, "0.0", None)
    assert rollout["message"] == f"weight {weight}%: waiting until the observed share is near {weight}%"


@pytest.mark.parametrize(("rate", "seconds"), [(200, 15), (3, 120)])
def test_a_share_of_1_percent_is_seen_with_its_first_requests(world: Any, rate: int, seconds: int) -> None:
    world.spec["rollout"]["steps"] = [{"weight": 1, "hold": "10m"}]
    world.rate = rate
    world.deploy("2")
    world.run_until("Progressing")
    world.run(seconds, lambda w: w.status["rollout"].get("stepStartedAt") is not None)
    assert world.status["rollout"].get("stepStartedAt") is not None, world.status["rollout"]["message"]


@pytest.mark.parametrize("lack", ["no Prometheus", "no samples", "no requests", "too few requests to tell"])
def test_without_checks_time_alone_promotes(world: Any, lack: str) -> None:
    world.spec["rollout"] |= {"checks": [], "steps": [{"weight": 1, "hold": "20s"}, {"weight": 50, "hold": "20s"}]}
    if lack == "no Prometheus":
        world.prometheus_down = "no Prometheus is configured"
    elif lack == "no samples":
        world.answer = lambda promql, *ago: ()
    elif lack == "no requests":
        world.rate = 0
    else:
        world.rate = 1
    world.deploy("2")
    world.run_until("Watching", 200)
    assert world.version("stable") == "2"


def test_a_window_of_less_than_two_scrapes_is_called_so(world: Any) -> None:
    own = world.answer

    def answer(promql: str, *ago: timedelta) -> Answer:
        ranged = re.search(r"\[(\d+)s\]", promql)
        is_enough = ranged is None or int(ranged[1]) >= 60
        return tuple(own(promql, *ago)) if is_enough else ()

    world.answer = answer
    world.deploy("2")
    world.run_until("Progressing")
    world.run(30)
    assert "has no samples of it yet" in world.status["rollout"]["message"]
    world.run(90)
    assert world.status["rollout"]["weight"] == 5
    assert (
        "fewer than two samples of each pod in 20s: raise spec.rollout.analysis.window"
        in (world.status["rollout"]["message"])
    )
