"""What goes to Prometheus for many objects, on exact time; and that no object suffers for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.batching import DEADLINE, FREE_AT_ONCE, FREE_EACH, GATHER_SECONDS, Batcher
from haldane.control.ports import Answer, Series, Unavailable
from haldane.effects.prometheus import FREE_THREADS
from haldane.plan.queries import Counted, durations, requests

Run = Callable[[Any], Any]

AT = datetime(2026, 1, 1, tzinfo=UTC)
REVISIONS = ("a", "b")


def model(name: str) -> ModelDeployment:
    body = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
    metadata = {"name": name, "namespace": "shop", "uid": "u", "generation": 1}
    spec = {"model": {"uri": "s3://models/a", "version": "1"}}
    return ModelDeployment.from_wire({**body, "metadata": metadata, "spec": spec})


MODELS = [model(f"model-{number}") for number in range(8)]


def asked_of(md: ModelDeployment, window: int = 60) -> Counted:
    return requests(md, REVISIONS, window)


class Prometheus:
    """Answers one request each for every model that a query names; what a test says refuses, hangs, or is away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, datetime, str | None]] = []
        self.poison: tuple[str, ...] = ()
        self.most = 1000
        self.away: str | None = None
        self.takes = 0.0
        self.at_once = self.most_at_once = 0

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        self.asked.append((promql, at, owner))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.5 if "quick" in promql else self.takes)
        finally:
            self.at_once -= 1
        named = [md.metadata.name for md in MODELS if md.metadata.name in promql]
        if self.away:
            return Unavailable(self.away)
        if len(named) > self.most or any(name in self.poison for name in named):
            return Unavailable("would load too many samples", too_much=True)
        shared = {"model_namespace": "shop", "leg": "0"} if "label_replace" in promql else {}
        return tuple(
            Series({"revision": "a", "code": "200"} | (shared and {**shared, "model": name}), float(name[-1]))
            for name in named
        )


async def all_asked(batcher: Batcher, models: list[ModelDeployment]) -> list[Answer]:
    return list(await asyncio.gather(*(batcher.query(asked_of(md), AT) for md in models)))


def own(number: int) -> Answer:
    return (Series({"revision": "a", "code": "200"}, float(number)),)


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus()


async def test_objects_share_a_query_and_each_gets_its_own_answer(prometheus: Prometheus) -> None:
    batcher = Batcher(prometheus, gather=0.0)
    assert await all_asked(batcher, MODELS) == [own(number) for number in range(8)]
    assert len(prometheus.asked) == 1
    assert prometheus.asked[0][1:] == (AT, None)


async def test_all_that_one_object_asks_is_one_query(prometheus: Prometheus) -> None:
    batcher = Batcher(prometheus, gather=0.0)
    queries = [asked_of(MODELS[0]), asked_of(MODELS[0], 20), durations(MODELS[0], REVISIONS, 60)]
    await asyncio.gather(*(batcher.query(query, AT) for query in queries))
    assert len(prometheus.asked) == 1


async def test_one_query_alone_is_asked_as_it_is_written(prometheus: Prometheus) -> None:
    assert await Batcher(prometheus, gather=0.0).query(asked_of(MODELS[0]), AT) == own(0)
    assert prometheus.asked == [(asked_of(MODELS[0]), AT, None)]


async def test_another_instant_stands_in_the_text(prometheus: Prometheus) -> None:
    batcher = Batcher(prometheus, gather=0.0)
    earlier = AT - timedelta(minutes=10)
    asks = [batcher.query(asked_of(md), at) for md, at in zip(MODELS[:3], (AT, AT, earlier), strict=True)]
    await asyncio.gather(*asks)
    ((promql, at, _),) = prometheus.asked
    assert at == AT
    assert promql.count(" @ ") == 1
    assert f"[60s] @ {earlier.timestamp():.3f}" in promql


async def test_a_batch_that_is_too_much_is_asked_in_smaller_ones(prometheus: Prometheus) -> None:
    prometheus.most = 3
    assert await all_asked(Batcher(prometheus, gather=0.0), MODELS) == [own(number) for number in range(8)]
    assert len(prometheus.asked) == 1 + 2 + 4


async def test_the_object_at_fault_is_the_only_one_without_an_answer(prometheus: Prometheus) -> None:
    prometheus.poison = ("model-5",)
    answers = await all_asked(Batcher(prometheus, gather=0.0), MODELS)
    refused = Unavailable("would load too many samples", too_much=True)
    assert answers == [refused if number == 5 else own(number) for number in range(8)]


async def test_an_outage_is_told_to_each_and_not_asked_about_again(prometheus: Prometheus) -> None:
    prometheus.away = "Prometheus cannot be reached"
    answers = await all_asked(Batcher(prometheus, gather=0.0), MODELS)
    assert answers == [Unavailable(prometheus.away)] * 8
    assert len(prometheus.asked) == 1


async def test_a_text_is_no_longer_than_a_proxy_takes(prometheus: Prometheus) -> None:
    await all_asked(Batcher(prometheus, gather=0.0, longest=320), MODELS)
    assert 2 <= len(prometheus.asked) <= 8


async def test_the_same_query_of_a_user_is_asked_once(prometheus: Prometheus) -> None:
    batcher = Batcher(prometheus, gather=0.0)
    answers = await asyncio.gather(*(batcher.query("model-1 + model-2", AT, owner="shop") for _ in range(5)))
    assert prometheus.asked == [("model-1 + model-2", AT, "shop")]
    assert len(answers) == 5
    await batcher.query("model-1 + model-2", AT, owner="shop")
    assert len(prometheus.asked) == 2  # it may have another answer by now


async def test_who_gives_up_takes_the_answer_from_nobody(prometheus: Prometheus) -> None:
    batcher = Batcher(prometheus, gather=0.0)
    waits = [asyncio.create_task(batcher.query(asked_of(MODELS[0]), AT)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    assert await waits[1] == own(0)


def test_what_comes_within_a_moment_is_gathered(prometheus: Prometheus, run_exactly: Run) -> None:
    async def main() -> float:
        batcher = Batcher(prometheus)

        async def after(seconds: float, md: ModelDeployment) -> None:
            await asyncio.sleep(seconds)
            await batcher.query(asked_of(md), AT)

        await asyncio.gather(after(0.0, MODELS[0]), after(0.09, MODELS[1]), after(0.11, MODELS[2]))
        return asyncio.get_running_loop().time()

    assert run_exactly(main()) == pytest.approx(0.11 + GATHER_SECONDS)
    assert len(prometheus.asked) == 2


def test_a_query_that_hangs_is_given_up(prometheus: Prometheus, run_exactly: Run) -> None:
    prometheus.takes = 1000.0

    async def main() -> tuple[list[Answer], float]:
        answers = await all_asked(Batcher(prometheus), MODELS)
        return answers, asyncio.get_running_loop().time()

    answers, took = run_exactly(main())
    assert answers == [Unavailable(f"Prometheus did not answer within {DEADLINE:g} s")] * 8
    assert took == pytest.approx(GATHER_SECONDS + DEADLINE)
    assert prometheus.at_once == 0


def test_queries_of_one_namespace_that_hang_hold_up_no_other_ones(prometheus: Prometheus, run_exactly: Run) -> None:
    """As many as there are slots, and more, each of which takes as long as a query may."""
    prometheus.takes = 5.0

    async def main() -> tuple[float, list[Answer], int]:
        batcher = Batcher(prometheus)
        slow = [asyncio.create_task(batcher.query(f"slow {n}", AT, owner="theirs")) for n in range(3 * FREE_AT_ONCE)]
        await asyncio.sleep(1.0)
        assert prometheus.at_once == FREE_EACH
        await asyncio.gather(*(batcher.query(f"quick {n}", AT, owner="ours") for n in range(FREE_EACH)))
        return asyncio.get_running_loop().time(), await asyncio.gather(*slow), prometheus.most_at_once

    took, answers, most = run_exactly(main())
    assert took == 1.5
    assert answers.count(()) == 2 * FREE_EACH, "what has waited for its turn until nobody waits for it is not sent"
    assert len(prometheus.asked) == 3 * FREE_EACH
    assert most == FREE_AT_ONCE <= FREE_THREADS


def test_a_text_that_two_namespaces_ask_is_not_held_up_by_the_other_one(
    prometheus: Prometheus, run_exactly: Run
) -> None:
    prometheus.takes = 5.0

    async def main() -> float:
        batcher = Batcher(prometheus)
        asked = [f"slow {n}" for n in range(FREE_EACH)] + ["quick"]
        theirs = [asyncio.create_task(batcher.query(each, AT, owner="theirs")) for each in asked]
        await asyncio.sleep(1.0)
        await batcher.query("quick", AT, owner="ours")
        took = asyncio.get_running_loop().time()
        await asyncio.gather(*theirs)
        return took

    assert run_exactly(main()) == 1.5
