"""A query that is right only without data passes no step: what it gives for a revision that never was tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.nobody import NOBODY
from haldane.plan.observed import Answer, Series, Unavailable

Said = Callable[[str], Answer]
OURS = 'x{r="{{revision}}"}[{{window}}]'


def one(value: float) -> Answer:
    return (Series({}, value),)


def told(known: Answer, unknown: Answer) -> Said:
    """What a query gives for revisions that there are, and for one that never was."""
    return lambda promql: unknown if NOBODY in promql else known


@pytest.fixture
def asking(world: Any) -> Any:
    """A rollout of one check of the user's own; `asking(check, said)` begins it and gives the queries that were asked of nobody."""

    def begin(check: dict[str, Any], said: Said) -> list[str]:
        own, asked = world.answer, []

        def answer(promql: str, *ago: timedelta) -> Answer:
            if "haldane_" in promql:
                return tuple(own(promql, *ago))
            asked.extend([promql] if NOBODY in promql else [])
            return said(promql)

        world.answer = answer
        world.spec["rollout"]["checks"] = [{"name": "mine", **check}]
        world.deploy("2")
        return asked

    return begin


QUERIES = [
    ({"max": "0.3"}, one(0.2), (), None),
    ({"max": "0.3"}, one(0.2), one(float("nan")), None),
    ({"max": "0.3"}, one(0.0), one(0.0), "the query gave 0 for a revision that does not exist, too"),
    ({"max": "0.3"}, one(0.2), one(0.25), "the query gave 0.25 for a revision that does not exist, too"),
    ({"maxIncrease": "10%"}, one(0.2), one(0.0), "so that it would pass without data"),
    ({"min": "0.1"}, one(0.2), one(0.0), None),
    ({"max": "0.3"}, one(0.2), Unavailable("timed out"), "for a revision that does not exist no answer: timed out"),
]


@pytest.mark.parametrize(("limit", "known", "unknown", "why"), QUERIES)
def test_a_query_passes_when_it_can_tell_data_from_none(
    world: Any, asking: Any, limit: dict[str, str], known: Answer, unknown: Answer, why: str | None
) -> None:
    asking({"query": {"promql": OURS, **limit}}, told(known, unknown))
    world.run(200, lambda w: w.phase == "Watching")
    check = world.md.status.rollout.checks[0] if why else None
    assert world.phase == ("Progressing" if why else "Watching"), world.status["rollout"]["message"]
    if check and why:
        assert (check.verdict, world.status["rollout"]["weight"]) == ("Inconclusive", 5)
        assert why in check.message
        assert why in world.status["rollout"]["message"]


def test_a_number_that_fails_rolls_back_whatever_nobody_gets(world: Any, asking: Any) -> None:
    asking({"query": {"promql": OURS, "max": "0.3"}}, told(one(0.5), one(0.0)))
    world.run_until("RollingBack", 120)
    assert "0.5 is above the limit 0.3" in world.status["rejected"][0]["message"]


def test_nobody_is_asked_about_once_a_rollout_and_again_for_other_queries(world: Any, asking: Any) -> None:
    asked = asking({"query": {"promql": OURS, "max": "0.3"}}, told(one(0.2), ()))
    world.run_until("Promoting", 200)
    assert len(asked) == 1, "steps that follow know it"
    world.run_until("Stable", 200)
    asked.clear()
    world.deploy("3")
    world.run(100, lambda w: w.route_weight == 50)
    assert len(asked) == 1
    world.spec["rollout"]["checks"][0]["query"]["promql"] = f"2 * {OURS}"
    world.run(12)
    assert len(asked) == 2


def test_what_is_corrected_goes_on(world: Any, asking: Any) -> None:
    said = {"nobody": one(0.0)}
    asked = asking(
        {"query": {"promql": OURS, "max": "0.3"}}, lambda promql: said["nobody"] if NOBODY in promql else one(0)
    )
    world.run(60)
    assert (world.phase, world.status["rollout"]["weight"]) == ("Progressing", 5)
    assert len(asked) > 3, "asked again as long as it is in doubt"
    said["nobody"] = ()
    world.run_until("Watching", 120)


@pytest.mark.parametrize(
    ("total", "unknown", "why"),
    [
        (None, one(0.0), None),
        ('all{r="{{revision}}"}[{{window}}]', one(0.0), None),
        ('all{r="{{revision}}"}[{{window}}]', one(900.0), "the query for total gave 900 for a revision that does not"),
    ],
)
def test_hits_may_be_0_without_data_and_requests_must_be_the_candidates_own(
    world: Any, asking: Any, total: str | None, unknown: Answer, why: str | None
) -> None:
    proportion = {"hits": 'hits{r="{{revision}}"}[{{window}}] or vector(0)', "max": "50%", "total": total}
    proportion = {key: value for key, value in proportion.items() if value}

    def said(promql: str) -> Answer:
        return one(0.0) if "hits" in promql else unknown if NOBODY in promql else one(1000.0)

    asked = asking({"proportion": proportion}, said)
    world.run(200, lambda w: w.phase == "Watching")
    assert world.phase == ("Progressing" if why else "Watching"), world.status["rollout"]["message"]
    assert not [promql for promql in asked if "hits" in promql]
    assert bool(asked) is bool(total)
    if why:
        assert why in world.status["rollout"]["checks"][0]["message"]
