"""The operator dies between its decision and what follows from it, and is away: what nobody asked for is not late, and what nobody wrote has not settled."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.observed import Observed

from .world import SPEC, World

AWAY = 1000
"""Seconds: longer than any deadline of the spec."""
SETTLE = 5


@dataclass
class DyingWorld(World):
    """Nothing follows from what is decided while it `dies`."""

    behind: str | None = None
    dies: bool = False

    def observe(self) -> Observed:
        behind = {self.behind: self.ready(self.behind)} if self.behind in self.pods else {}
        seen = super().observe()
        return replace(seen, candidate_endpoints=behind, stable_leads=self.serving, candidate_leads=self.behind)

    def follow(self) -> None:
        if not self.dies:
            super().follow()
            status = self.md.status
            self.behind = status.candidate.revision if status.candidate else self.serving

    def die_deciding(self, decided: Callable[[World], bool]) -> None:
        """Dies in the pass that decides this, after it was written into status, and is away for a long time."""
        self.dies = True
        self.run(60, decided)
        assert decided(self), self.status["rollout"]
        for _ in range(AWAY):
            self.traffic()
            self.now += timedelta(seconds=1)
        self.dies = False


@pytest.fixture
def dying() -> DyingWorld:
    """Version 1 serves with two pods; version 2 is to take over in two steps."""
    world = DyingWorld(copy.deepcopy(SPEC))
    world.spec["scaling"]["minReplicas"] = 2
    world.spec["rollout"] |= {
        "steps": [{"weight": 10, "hold": "10s"}, {"weight": 60, "hold": "10s"}],
        "keepStableFor": "0s",
        "watchAfterPromotion": "0s",
    }
    world.deploy("1")
    world.run(20)
    world.deploy("2")
    return world


def rollout(world: World) -> dict[str, Any]:
    return dict(world.status["rollout"])


@pytest.mark.parametrize(
    "decided",
    [
        pytest.param(lambda world: rollout(world)["phase"] == "Preparing", id="to prepare"),
        pytest.param(lambda world: rollout(world)["weight"] == 10, id="the first weight"),
        pytest.param(lambda world: rollout(world).get("step") == 1, id="more pods for the second weight"),
        pytest.param(lambda world: rollout(world)["weight"] == 60, id="the second weight"),
        pytest.param(lambda world: rollout(world)["phase"] == "Promoting", id="to promote"),
        pytest.param(lambda world: rollout(world)["weight"] == 100, id="all of the weight"),
        pytest.param(lambda world: world.version("previous") == "1", id="to hand over"),
        pytest.param(lambda world: rollout(world)["phase"] == "Watching", id="that it is promoted"),
    ],
)
def test_a_good_version_is_promoted_whenever_the_operator_was_away(
    dying: DyingWorld, decided: Callable[[World], bool]
) -> None:
    dying.run(120, lambda world: _is_next(dying, decided))
    dying.die_deciding(decided)
    dying.run(120, lambda world: world.phase == "Stable")
    assert (dying.phase, dying.version("stable")) == ("Stable", "2"), rollout(dying)["message"]
    assert [entry["outcome"] for entry in dying.status["history"]] == ["Promoted", "Promoted"]
    assert not dying.status.get("rejected")


def _is_next(world: DyingWorld, decided: Callable[[World], bool]) -> bool:
    """Whether the next pass decides it."""
    trial = copy.deepcopy(world)
    trial.dies = True
    trial.now += timedelta(seconds=1)
    trial.one_pass()
    return decided(trial)


def test_pods_that_were_never_shown_to_the_service_are_not_late(dying: DyingWorld) -> None:
    dying.run(2)
    dying.behind = dying.serving  # it died when it had made the Deployment
    for _ in range(AWAY):
        dying.traffic()
        dying.now += timedelta(seconds=1)
    dying.run(120, lambda world: world.phase == "Stable")
    assert dying.version("stable") == "2", rollout(dying)["message"]


def test_pods_that_go_are_led_away_from_first(dying: DyingWorld) -> None:
    dying.run(120, lambda world: world.route_weight == 60)
    candidate = dying.status["candidate"]["revision"]
    dying.behaviours["2"].error_rate = 1.0
    dying.die_deciding(lambda world: world.phase == "RollingBack")
    assert dying.route_weight == 60
    dying.run(60, lambda world: world.route_weight == 0)
    dying.run(SETTLE - 1)
    assert candidate in dying.pods, "proxies may lead to them for some seconds yet"
    dying.run(10)
    assert candidate not in dying.pods


def test_old_pods_stay_until_the_service_has_settled(dying: DyingWorld) -> None:
    old = dying.serving
    dying.run(120, lambda world: world.route_weight == 100)
    dying.die_deciding(lambda world: world.version("previous") == "1")
    assert dying.serving == old
    dying.run(60, lambda world: world.serving != old)
    dying.run(SETTLE - 1)
    assert (old in dying.pods, dying.route_weight) == (True, 100), "proxies may lead to them for some seconds yet"


def test_a_service_that_is_never_moved_ends_at_the_deadline(dying: DyingWorld) -> None:
    dying.run(120, lambda world: world.route_weight == 100)
    dying.die_deciding(lambda world: world.version("previous") == "1")
    dying.dies = True  # refused, for ever
    dying.run(AWAY)
    assert dying.phase == "RollingBack"
    assert "did not follow" in rollout(dying)["message"]
