"""Rehearsals go on beside the passes: once for each spec, again while something is in doubt, never in the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.ports import Answer, Series, Unavailable
from haldane.control.rehearsals import AGAIN, AGAIN_SOON, Rehearsals
from haldane.control.store import Key

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = Key("shop", "fraud")
FINE: Answer = (Series({"code": "200"}, 900_000.0),)
MANY: Answer = (Series({}, 1.0), Series({}, 2.0))


class World:
    """Prometheus, and what was asked of it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"own": FINE, "free": FINE}
        self.asked: list[bool] = []
        self.woken: list[Key] = []
        self.rehearsals = Rehearsals(self, self.woken.append)

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        self.asked.append(owner is not None)
        if "0000000000" in promql:
            return ()
        return self.answers["own" if owner is None else "free"]

    async def of(self, md: ModelDeployment, after: timedelta = timedelta(0)) -> tuple[str, ...] | None:
        """What is known at once, and what when the answers have come; the same when it is known."""
        self.rehearsals.of(KEY, md, NOW + after)
        for _ in range(6):
            await asyncio.sleep(0)
        return self.rehearsals.of(KEY, md, NOW + after)


def model(generation: int = 1, phase: str = "Stable") -> ModelDeployment:
    stable = {"revision": "aaaaaaaaaa", "version": "1", "replicas": 1, "readyReplicas": 1}
    checks: list[Any] = [{"name": "a", "query": {"promql": "a{{revision}}", "max": "1"}}]
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "shop", "uid": "u", "generation": generation},
            "spec": {"model": {"uri": "s3://m/1", "version": "1"}, "rollout": {"checks": checks}},
            "status": {"stable": stable, "rollout": {"phase": phase}},
        }
    )


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_fine_is_asked_once_for_each_spec(world: World) -> None:
    assert world.rehearsals.of(KEY, model(), NOW) is None, "a pass never waits for it"
    assert await world.of(model()) == ()
    assert await world.of(model(), 3 * AGAIN) == ()
    assert world.asked == [False, False, True, True]
    assert world.woken == [KEY]
    assert world.rehearsals.again(KEY, NOW) is None
    assert await world.of(model(generation=2)) == ()
    assert len(world.asked) == 8


async def test_doubts_are_asked_about_again(world: World) -> None:
    world.answers["free"] = MANY
    found = await world.of(model())
    assert found is not None
    assert "2 series" in found[0]
    assert world.rehearsals.again(KEY, NOW) == AGAIN
    assert await world.of(model(), AGAIN / 2) == found
    assert await world.of(model(phase="RollingBack"), AGAIN) == found, (
        "on the way back nobody asks, and what is known stays"
    )
    assert len(world.asked) == 4
    world.answers["free"] = FINE
    assert await world.of(model(), AGAIN) == ()


async def test_what_serves_so_newly_that_prometheus_has_not_met_it_is_asked_about_soon(world: World) -> None:
    fresh = model()
    began = fresh.status.rollout.model_copy(update={"phase_started_at": NOW - timedelta(seconds=1)})
    fresh = fresh.model_copy(update={"status": fresh.status.model_copy(update={"rollout": began})})
    world.answers = {"own": (), "free": ()}
    assert await world.of(fresh) is None
    assert world.rehearsals.again(KEY, NOW) == AGAIN_SOON
    world.answers = {"own": FINE, "free": MANY}
    found = await world.of(fresh, AGAIN_SOON)
    assert found is not None
    assert "2 series" in found[0]


async def test_an_outage_is_no_doubt_and_is_tried_again(world: World) -> None:
    world.answers = dict.fromkeys(world.answers, Unavailable("connection refused"))
    assert await world.of(model()) is None
    assert world.rehearsals.again(KEY, NOW + AGAIN / 2) == AGAIN / 2
    world.answers = {"own": FINE, "free": FINE}
    assert await world.of(model(), AGAIN / 2) is None
    assert await world.of(model(), AGAIN) == ()


async def test_nothing_is_known_of_what_is_gone_or_in_a_first_deployment(world: World) -> None:
    await world.of(model())
    world.rehearsals.forget(KEY)
    assert world.rehearsals.of(KEY, model(phase="RollingBack"), NOW) is None
    assert world.rehearsals.again(KEY, NOW) is None
