"""At all of the traffic the new version is compared with what stable had before the rollout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.rollout import ErrorRate, Latency, Query
from haldane.api.status import RolloutStatus
from haldane.plan.analysis import judge
from haldane.plan.asking import instant, queries
from haldane.plan.hindsight import SLACK, SPAN, comparable, with_slack
from haldane.plan.histogram import Histogram
from haldane.plan.latency import judge_latency
from haldane.plan.looks import Look
from haldane.plan.observed import Series, Unavailable
from haldane.plan.proportions import Counts
from haldane.plan.samples import Requests
from haldane.plan.verdicts import Trial, judge_error_rate, judge_query

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
RISE = ErrorRate(max_increase="0.1%")
AFTERWARDS = Trial(Look(40), None, 100, in_hindsight=True)
BEFORE = Requests(360_000, 3600)
RELATIVE = [
    {"name": "errors", "errorRate": {"maxIncrease": "0.1%"}},
    {"name": "p99", "latency": {"maxIncrease": "10%"}},
    {"name": "mean", "query": {"promql": "mean[{{window}}]", "maxIncrease": "10%"}},
    {"name": "declined", "proportion": {"hits": "declined{{revision}}[{{window}}]", "maxIncrease": "1%"}},
]


@pytest.mark.parametrize(
    ("took", "ends"),
    [
        (timedelta(minutes=35), NOON - timedelta(minutes=35)),
        (timedelta(hours=6), NOON - timedelta(hours=6)),
        (timedelta(hours=7), NOON - timedelta(days=1)),
        (timedelta(days=1), NOON - timedelta(days=1)),
        (timedelta(days=2, hours=1), NOON - timedelta(days=3)),
    ],
)
def test_the_hour_before_the_rollout_or_the_same_hour_of_the_last_day_before_it(
    took: timedelta, ends: datetime
) -> None:
    assert comparable(RolloutStatus(started_at=NOON - took, weight_changed_at=NOON)) == ends


def test_without_a_beginning_there_is_nothing_to_compare_with() -> None:
    assert comparable(RolloutStatus(weight_changed_at=NOON)) is None


def test_slack_is_a_higher_share_that_is_known_no_better() -> None:
    assert with_slack(Counts(10, 1000)) == Counts(10, 1000 / SLACK)
    assert with_slack(Counts(10, 1000)).share == pytest.approx(0.01 * SLACK)


@pytest.mark.parametrize(
    ("counted", "before", "verdict", "words"),
    [
        (Requests(60_000, 600), BEFORE, "Pass", "1.5x1%+0.1%"),
        (Requests(60_000, 900), BEFORE, "Pass", "1.5x1%+0.1%"),
        (Requests(60_000, 1300), BEFORE, "Fail", "beyond 1.5 times stable's 1% before the rollout by more than 0.1%"),
        (Requests(60_000, 300), Requests(360_000, 0), "Fail", "beyond 1.5 times stable's 0%"),
        (Requests(60_000, 1300), Requests(99, 0), "Inconclusive", "stable answered 99 requests in the hour before"),
        (Requests(60_000, 1300), None, "Pass", "not shown to be beyond its limit"),
    ],
)
def test_errors(counted: Requests, before: Requests | None, verdict: str, words: str) -> None:
    half = Requests(counted.total // 2, counted.errors // 2)
    first = judge_error_rate(RISE, AFTERWARDS, half, before)
    trial = Trial(Look(41), first.evidence, 100, in_hindsight=True)
    judged = judge_error_rate(RISE, trial, counted, before)
    assert judged.verdict == verdict
    assert words in judged.message


def test_a_sudden_fault_is_compared_with_the_same_past() -> None:
    counted, lately = Requests(600_000, 6000), Requests(12_000, 600)
    assert judge_error_rate(RISE, AFTERWARDS, counted, BEFORE).verdict == "Pass"
    assert judge_error_rate(RISE, AFTERWARDS, counted, BEFORE, (lately, None)).verdict == "Fail"


@pytest.mark.parametrize(("seconds", "verdict"), [(0.02, "Pass"), (0.029, "Pass"), (0.045, "Fail")])
def test_latency(seconds: float, verdict: str) -> None:
    before, slow = _all_at(0.02, 360_000), _all_at(seconds, 60_000)
    trial = AFTERWARDS
    for part in (0.5, 1.0):
        histogram = Histogram(slow.bounds, tuple(part * count for count in slow.counts))
        judged = judge_latency(Latency(max_increase="10%"), trial, histogram, before, True)
        trial = Trial(Look(41), judged.evidence, 100, in_hindsight=True)
    assert judged.verdict == verdict, judged.message


def _all_at(p99: float, requests: int) -> Histogram:
    """99 % of the requests below a duration, in buckets so fine that nothing is estimated."""
    bounds = tuple(round(0.001 * n, 3) for n in range(1, 61))
    return Histogram((*bounds, float("inf")), (*(requests * (0.99 if b >= p99 else 0.5) for b in bounds), requests))


@pytest.mark.parametrize(
    ("value", "before", "limit", "verdict"),
    [
        (15.5, 10.0, "16", "Pass"),
        (16.5, 10.0, "16", "Fail"),
        (-3.9, -10.0, "-4", "Fail"),
        (-4.1, -10.0, "-4", "Pass"),
    ],
)
def test_a_free_query(value: float, before: float, limit: str, verdict: str) -> None:
    check = Query(promql="x", max_increase="10%")
    judged = judge_query(check, (Series({}, value),), (Series({}, before),), 100, 100, in_hindsight=True)
    assert (judged.verdict, judged.limit) == (verdict, limit)


def watched(world: Any) -> Any:
    """In the watch of version 2, with relative checks alone."""
    world.spec["rollout"] |= {"checks": RELATIVE[:2], "watchAfterPromotion": "5m", "keepStableFor": "5m"}
    world.run(300)
    world.deploy("2")
    world.run_until("Watching")
    return world


def test_what_is_asked_is_about_the_hour_before_the_rollout(world: Any) -> None:
    watched(world).spec["rollout"]["checks"] = RELATIVE
    later = world.now + timedelta(seconds=60)
    asked = queries(world.md, later)
    begun, previous = world.md.status.rollout.started_at, world.status["previous"]["revision"]
    past = {name for name in asked if instant(world.md, name, later) == begun}
    assert past == {"before/requests", "before/durations", "baseline/mean", "baseline/declined/hits"}
    assert all(instant(world.md, name, later) == later for name in set(asked) - past)
    assert all(f"[{SPAN.total_seconds():.0f}s]" in asked[name] for name in past - {"baseline/mean"})
    assert all(previous in asked[name] for name in past - {"baseline/mean"})
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "1%"}}]
    assert not [name for name in queries(world.md, later) if name.startswith("before/")]


@pytest.mark.parametrize(("what", "value", "check"), [("error_rate", 0.05, "errors"), ("latency", 0.3, "p99")])
def test_a_version_that_breaks_under_all_of_the_traffic_goes_back(
    world: Any, what: str, value: float, check: str
) -> None:
    watched(world).run(40)
    assert [c["verdict"] for c in world.status["rollout"]["checks"]] == ["Pass", "Pass"]
    setattr(world.behaviours["2"], what, value)
    world.run_until("RollingBack")
    assert f"check {check} failed after the promotion" in world.status["rejected"][0]["message"]
    assert "before the rollout" in world.status["rejected"][0]["message"] or check == "p99"
    world.run_until("Stable")
    assert world.version("stable") == "1"


def test_a_version_like_the_one_before_stays(world: Any) -> None:
    watched(world).run_until("Stable")
    assert world.version("stable") == "2"
    assert all("1.5x" in c["limit"] for c in world.status["rollout"]["checks"])


def test_a_past_that_prometheus_does_not_know_decides_nothing_and_hides_nothing(world: Any) -> None:
    watched(world).run(20)
    later = world.now + timedelta(seconds=30)
    asked = queries(world.md, later)
    answers: dict[str, Any] = {name: world.answer(promql) for name, promql in asked.items()}
    verdicts = judge(world.md, answers | {"before/requests": (), "before/durations": ()}, later)
    assert verdicts is not None
    assert {c.verdict for c in verdicts.checks} == {"Inconclusive"}
    assert all("stable answered 0 requests in the hour before the rollout" in c.message for c in verdicts.checks)
    lost = judge(world.md, answers | {"before/durations": Unavailable("timed out")}, later)
    assert lost is not None
    assert "timed out" in lost.checks[1].message
    both = ErrorRate(max="1%", max_increase="0.1%")
    first = judge_error_rate(both, AFTERWARDS, Requests(30_000, 3000), Requests(0, 0))
    assert first.verdict == "Inconclusive"
    again = Trial(Look(41), first.evidence, 100, in_hindsight=True)
    assert judge_error_rate(both, again, Requests(60_000, 6000), Requests(0, 0)).verdict == "Fail"
