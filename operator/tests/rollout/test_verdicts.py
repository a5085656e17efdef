"""Each rule of each check, by tables of counts."""

from __future__ import annotations

import math

import pytest

from haldane.api.rollout import ErrorRate, Latency, Query
from haldane.plan.histogram import Histogram
from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.samples import Requests, read_durations, read_requests
from haldane.plan.verdicts import judge_abort, judge_error_rate, judge_latency, judge_query

MAX = ErrorRate(max="1%")
RISE = ErrorRate(max_increase="1%")
ABORT = ErrorRate(abort="20%")


@pytest.mark.parametrize(
    ("check", "counted", "baseline", "verdict", "words"),
    [
        (MAX, Requests(0, 0), None, "Inconclusive", "no requests reached the candidate; 100 are needed"),
        (MAX, Requests(99, 99), None, "Inconclusive", "99 requests so far; 100 are needed"),
        (MAX, Requests(100, 1), None, "Pass", "error rate 1% of 100 requests is not shown to be beyond 1%"),
        (MAX, Requests(1000, 15), None, "Pass", "1.5% of 1000"),
        (MAX, Requests(1000, 30), None, "Fail", "error rate 3% of 1000 requests is beyond the limit 1%"),
        (MAX, Requests(100, 100), None, "Fail", "error rate 100%"),
        (RISE, Requests(1000, 10), Requests(1000, 10), "Pass", "not shown to be beyond 1%+1%"),
        (RISE, Requests(1000, 70), Requests(1000, 10), "Fail", "more than 1% above stable's 1%"),
        (RISE, Requests(1000, 70), Requests(50, 1), "Inconclusive", "stable answered 50 requests in the window"),
        (RISE, Requests(1000, 70), None, "Pass", "7% of 1000"),
    ],
)
def test_error_rate(check: ErrorRate, counted: Requests, baseline: Requests | None, verdict: str, words: str) -> None:
    judged = judge_error_rate(check, counted, baseline, 100)
    assert judged.verdict == verdict
    assert words in judged.message


@pytest.mark.parametrize(
    ("recent", "aborts"),
    [
        (Requests(), False),
        (Requests(4, 4), False),
        (Requests(5, 5), True),
        (Requests(50, 12), False),
        (Requests(50, 25), True),
    ],
)
def test_abort_does_not_wait_for_min_requests_but_for_evidence(recent: Requests, aborts: bool) -> None:
    judged = judge_abort(ABORT, recent)
    assert (judged is not None and judged.verdict == "Fail") is aborts


def histogram(fast: float, slow: float) -> Histogram:
    return Histogram.from_buckets({0.01: 0, 0.05: fast, 0.1: fast, 0.25: fast + slow, math.inf: fast + slow})


@pytest.mark.parametrize(
    ("check", "subject", "baseline", "verdict", "words"),
    [
        (Latency(max="100ms"), None, None, "Inconclusive", "no requests"),
        (Latency(max="100ms"), histogram(99, 0), None, "Inconclusive", "99 requests so far"),
        (Latency(max="100ms"), histogram(995, 5), None, "Pass", "is not shown to be beyond 100ms"),
        (Latency(max="100ms"), histogram(985, 15), None, "Pass", "p99"),
        (
            Latency(max="100ms"),
            histogram(950, 50),
            None,
            "Fail",
            "beyond the limit 100ms: 50 of 1000 requests took longer",
        ),
        (Latency(quantile="0.5", max="100ms"), histogram(950, 50), None, "Pass", "p50"),
        (Latency(max_increase="20%"), histogram(950, 50), histogram(1000, 0), "Fail", "beyond the limit 49.6ms+20%"),
        (Latency(max_increase="20%"), histogram(1000, 0), histogram(1000, 0), "Pass", "49.6ms+20%"),
        (
            Latency(max_increase="20%"),
            histogram(950, 50),
            histogram(10, 0),
            "Inconclusive",
            "stable answered 10 requests",
        ),
        (Latency(max="200ms", max_increase="20%"), histogram(950, 50), histogram(1000, 0), "Fail", "49.6ms+20%"),
    ],
)
def test_latency(
    check: Latency, subject: Histogram | None, baseline: Histogram | None, verdict: str, words: str
) -> None:
    judged = judge_latency(check, subject, baseline, baseline is not None, 100)
    assert judged.verdict == verdict
    assert words in judged.message


def one(value: float) -> tuple[Series]:
    return (Series({}, value),)


@pytest.mark.parametrize(
    ("check", "answer", "baseline", "requests", "verdict", "words"),
    [
        (Query(promql="x", max="0.3"), one(0.2), None, 100, "Pass", "0.2 is within the limit 0.3"),
        (Query(promql="x", max="0.3"), one(0.4), None, 100, "Fail", "0.4 is above the limit 0.3"),
        (Query(promql="x", min="0.3"), one(0.2), None, 100, "Fail", "0.2 is below the limit 0.3"),
        (Query(promql="x", min="0.3"), one(0.4), None, 100, "Pass", "within the limit 0.3"),
        (Query(promql="x", max="0.3"), one(0.4), None, 99, "Inconclusive", "99 requests so far"),
        (Query(promql="x", max="0.3"), (), None, 100, "Inconclusive", "matched no series"),
        (Query(promql="x", max="0.3"), one(math.nan), None, 100, "Inconclusive", "nan"),
        (Query(promql="x", max="0.3"), one(math.inf), None, 100, "Inconclusive", "inf"),
        (Query(promql="x", max="0.3"), (*one(1), *one(2)), None, 100, "Inconclusive", "2 series: aggregate them"),
        (Query(promql="x", max="0.3"), Unavailable("timed out"), None, 100, "Inconclusive", "no answer: timed out"),
        (Query(promql="x", max_increase="10%"), one(1.2), one(1.0), 100, "Fail", "above the limit 1.1"),
        (Query(promql="x", max_increase="10%"), one(1.05), one(1.0), 100, "Pass", "within the limit 1.1"),
        (Query(promql="x", max_increase="10%"), one(1.2), (), 100, "Inconclusive", "for stable gave no data"),
    ],
)
def test_query(check: Query, answer: Answer, baseline: Answer | None, requests: int, verdict: str, words: str) -> None:
    judged = judge_query(check, answer, baseline, requests, 100)
    assert judged.verdict == verdict
    assert words in judged.message


def test_a_total_failure_without_a_success_series_is_data() -> None:
    requests, problem = read_requests((Series({"revision": "a", "code": "500"}, 40.2),))
    assert (requests, problem) == ({"a": Requests(40, 40)}, None)


def test_nan_and_negative_samples_are_left_out() -> None:
    requests, _ = read_requests(
        (
            Series({"revision": "a", "code": "200"}, math.nan),
            Series({"revision": "a", "code": "200"}, -1.0),
            Series({"revision": "a", "code": "200"}, 7.0),
        )
    )
    assert requests == {"a": Requests(7, 0)}


def test_buckets_without_a_number_are_left_out() -> None:
    histograms, _ = read_durations(
        (
            Series({"revision": "a", "le": "0.1"}, 5.0),
            Series({"revision": "a", "le": "+Inf"}, 9.0),
            Series({"revision": "a"}, 9.0),
        )
    )
    assert histograms["a"].total == 9.0
    assert histograms["a"].above(0.1) == 4.0
