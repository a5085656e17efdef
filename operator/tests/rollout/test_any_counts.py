"""No counts, however odd, keep a look from a verdict: one that cannot be given holds up what must be decided."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from haldane.api.rollout import ErrorRate, Latency
from haldane.plan.evidence import Evidence
from haldane.plan.histogram import Histogram
from haldane.plan.latency import judge_latency
from haldane.plan.looks import Look
from haldane.plan.observed import Series
from haldane.plan.samples import MOST, Requests, read_durations, read_requests
from haldane.plan.verdicts import Trial, judge_abort, judge_error_rate

SERIES = st.one_of(st.floats(), st.floats(0, 1000), st.integers(0, 10**18).map(float))
LIMITS = st.sampled_from([None, "0%", "0.1%", "20%", "50%", "100%"])
BOUNDS = (0.001, 0.1, 0.25, 30.0, math.inf)


@st.composite
def requests(draw: st.DrawFn) -> Requests:
    total = draw(st.one_of(st.integers(0, 2000), st.integers(0, int(MOST))))
    return Requests(total, draw(st.one_of(st.just(total), st.integers(0, min(total, 10)), st.integers(0, total))))


histograms = st.lists(st.floats(0, MOST), min_size=len(BOUNDS), max_size=len(BOUNDS)).map(
    lambda counts: Histogram.from_buckets(dict(zip(BOUNDS, sorted(counts), strict=True)))
)


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    look = Look(draw(st.integers(1, 500)), draw(st.integers(0, 3)), draw(st.floats(0, 3)), draw(st.floats(0, 3)))
    return Trial(look, None, draw(st.sampled_from([1, 100])), draw(st.sampled_from([None, 2.0])), draw(st.booleans()))


def again(trial: Trial, evidence: Evidence | None) -> Trial:
    read = Evidence.from_text(evidence.to_text()) if evidence else None
    assert read is not None or evidence is None
    return Trial(trial.look, read, trial.minimum, trial.detect, trial.in_hindsight)


@given(trials(), LIMITS, LIMITS, requests(), requests(), requests(), requests())
@example(Trial(Look(), None, 100), None, "0.1%", *[Requests(1000, 1000)] * 4)
@example(Trial(Look(20, 1), None, 100), None, "20%", Requests(10_000, 10_000), *[Requests(1000, 10)] * 3)
def test_requests(
    trial: Trial, limit: str | None, rise: str | None, one: Requests, two: Requests, three: Requests, base: Requests
) -> None:
    check = ErrorRate(max=limit, max_increase=rise, abort="20%")
    judge_abort(check, one)
    judged = judge_error_rate(check, trial, one, base, (three, base))
    judge_error_rate(check, again(trial, judged.evidence), two, three)


@given(trials(), st.sampled_from(["0.5", "0.99", "0.99999999"]), histograms, histograms, histograms)
def test_durations(trial: Trial, quantile: str, one: Histogram, two: Histogram, base: Histogram) -> None:
    check = Latency(quantile=quantile, max="100ms", max_increase="10%")
    judged = judge_latency(check, trial, one, base, True, (two, base))
    judge_latency(check, again(trial, judged.evidence), two, base, True)


@given(st.lists(st.tuples(SERIES, st.sampled_from(["200", "500"]), st.sampled_from(["1", "1.0", "+Inf", "x"]))))
@example([(1.7e308, "200", "1"), (1.7e308, "500", "1")])
@example([(1e30, "200", "1")])
def test_series(samples: list[tuple[float, str, str]]) -> None:
    """What is read fits into status, however many series it came from."""
    series = tuple(Series({"revision": "a", "code": code, "le": bound}, value) for value, code, bound in samples)
    found, _ = read_requests(series)
    assert all(0 <= r.errors <= r.total < 2**63 for r in found.values())
    durations, _ = read_durations(series)
    assert all(0 <= h.total < 2**63 for h in durations.values())


def test_one_bound_that_is_written_in_two_ways_is_one() -> None:
    counts = (("0.5", 900.0), ("1", 1000.0), ("1.0", 50.0), ("+Inf", 1050.0))
    durations, _ = read_durations(tuple(Series({"revision": "a", "le": bound}, value) for bound, value in counts))
    assert durations["a"] == Histogram((0.5, 1.0, math.inf), (900.0, 1050.0, 1050.0))


def test_buckets_that_differ_by_less_than_a_division_tells() -> None:
    lower, upper = 2.157435903046951, 2.1574359030469514
    assert Histogram.from_buckets({0.1: lower, 0.25: upper, math.inf: 2 * upper}).quantile(0.5) == 0.25


def test_large_counts_are_read_back_as_they_were_written() -> None:
    evidence = Evidence(planned=3, requests=2_000_000_000_001, hits=5, squares=0.25)
    assert Evidence.from_text(evidence.to_text()) == evidence
