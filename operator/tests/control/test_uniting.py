"""What goes to Prometheus for users' checks: one query each, and never less of an answer than apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.batching import GATHER_SECONDS, Batcher
from haldane.control.ports import Answer, Series, Unavailable
from haldane.control.uniting import REFUSED, UNANSWERED, Uniter
from haldane.plan.queries import Written
from haldane.plan.unions import Part

Run = Callable[[Any], Any]
AT = datetime(2026, 1, 1, tzinfo=UTC)
TOO_MUCH = Unavailable("it refused the query: many-to-many matching not allowed", too_much=True)
AWAY = Unavailable("it cannot be reached")
TEXTS = ("first", "second", "third")


def model(name: str = "fraud", generation: int = 1) -> ModelDeployment:
    body = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
    metadata = {"name": name, "namespace": "shop", "uid": "u", "generation": generation}
    spec = {"model": {"uri": "s3://models/a", "version": "1"}}
    return ModelDeployment.from_wire({**body, "metadata": metadata, "spec": spec})


MODEL = model()


@dataclass
class Prometheus:
    """Answers each text with its length; what is in `wrong` is refused, alone or with others."""

    asked: list[str] = field(default_factory=list)
    wrong: dict[str, Answer] = field(default_factory=dict)

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        assert (at, owner) == (AT, "shop")
        self.asked.append(promql)
        for text, answer in self.wrong.items():
            if text in promql:
                return answer
        if "haldane_part" not in promql:
            return (Series({}, float(len(promql))),)
        return tuple(Series({"haldane_part": str(n)}, float(len(t))) for n, t in enumerate(TEXTS) if f"({t})" in promql)

    async def look(self, batcher: Batcher, md: ModelDeployment = MODEL, check: str = "own") -> list[Answer]:
        """One look at a check."""
        self.asked.clear()
        return await asyncio.gather(*(batcher.query(Written(text, md, check), AT, owner="shop") for text in TEXTS))


def own(text: str) -> Answer:
    return (Series({}, float(len(text))),)


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus()


@pytest.fixture
def batcher(prometheus: Prometheus) -> Batcher:
    return Batcher(prometheus, gather=0.0)


async def test_a_check_is_one_query(prometheus: Prometheus, batcher: Batcher) -> None:
    for _ in range(3):
        assert await prometheus.look(batcher) == [own(text) for text in TEXTS]
        assert len(prometheus.asked) == 1


async def test_objects_that_ask_the_same_share_it(prometheus: Prometheus, batcher: Batcher) -> None:
    looks = (prometheus.look(batcher, model(name), check) for name, check in [("a", "x"), ("b", "x"), ("b", "y")])
    assert await asyncio.gather(*looks) == 3 * [[own(text) for text in TEXTS]]
    assert len(prometheus.asked) == 1


async def test_what_is_refused_is_told_of_the_part_at_fault_and_asked_apart_for_a_while(
    prometheus: Prometheus, batcher: Batcher
) -> None:
    prometheus.wrong = {"second": TOO_MUCH}
    found: list[Answer] = [own("first"), TOO_MUCH, own("third")]
    assert await prometheus.look(batcher) == found
    assert prometheus.asked[1:] == list(TEXTS)
    for _ in range(REFUSED):
        assert await prometheus.look(batcher) == found
        assert prometheus.asked == list(TEXTS)
    prometheus.wrong = {}
    assert await prometheus.look(batcher) == [own(text) for text in TEXTS]
    assert len(prometheus.asked) == 1, "it is tried again"


async def test_what_is_refused_only_together_is_answered(prometheus: Prometheus, batcher: Batcher) -> None:
    prometheus.wrong = {"haldane_part": TOO_MUCH}
    for _ in range(2 * REFUSED):
        assert await prometheus.look(batcher) == [own(text) for text in TEXTS]


async def test_no_other_check_suffers(prometheus: Prometheus, batcher: Batcher) -> None:
    prometheus.wrong = {"second": TOO_MUCH}
    await prometheus.look(batcher)
    prometheus.wrong = {}
    for others in ({"check": "other"}, {"md": model("other")}, {"md": model(generation=2)}):
        await prometheus.look(batcher, **others)
        assert len(prometheus.asked) == 1, others


async def test_an_outage_is_asked_about_once_and_tried_apart_afterwards(
    prometheus: Prometheus, batcher: Batcher
) -> None:
    """It may be the query that takes as long as nobody waits; then it is looked at nevertheless."""
    for _ in range(2):
        prometheus.wrong = {"haldane_part": AWAY}
        for apart in (UNANSWERED, 2 * UNANSWERED, 4 * UNANSWERED, REFUSED, REFUSED):
            assert await prometheus.look(batcher) == 3 * [AWAY]
            assert len(prometheus.asked) == 1
            for _ in range(apart):
                assert await prometheus.look(batcher) == [own(text) for text in TEXTS]
                assert len(prometheus.asked) == 3
        prometheus.wrong = {}
        assert await prometheus.look(batcher) == [own(text) for text in TEXTS]
        assert len(prometheus.asked) == 1


async def test_what_is_known_of_checks_has_an_end(prometheus: Prometheus) -> None:
    prometheus.wrong = {"haldane_part": TOO_MUCH}

    async def ask(promql: str, at: datetime, owner: str) -> Answer:
        return await prometheus.query(promql, at, owner=owner)

    uniter = Uniter(ask, gather=0.0, longest=1000, most=2)
    counts = []
    for name in ("a", "b", "c", "c", "b", "a"):
        prometheus.asked.clear()
        asked = [uniter.ask(Part(Written(text, model(name), "own"), AT, "shop")) for text in TEXTS]
        await asyncio.gather(*asked)
        counts.append(len(prometheus.asked))
    assert counts == [4, 4, 4, 3, 3, 4]


def test_what_comes_within_a_moment_is_gathered(prometheus: Prometheus, run_exactly: Run) -> None:
    async def main() -> float:
        batcher = Batcher(prometheus)

        async def after(seconds: float, text: str) -> None:
            await asyncio.sleep(seconds)
            await batcher.query(Written(text, MODEL, "own"), AT, owner="shop")

        await asyncio.gather(after(0.0, "first"), after(0.09, "second"), after(0.11, "third"))
        return asyncio.get_running_loop().time()

    assert run_exactly(main()) == pytest.approx(0.11 + GATHER_SECONDS)
    assert len(prometheus.asked) == 2
