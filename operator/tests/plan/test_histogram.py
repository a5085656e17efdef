"""Histograms: shares above a limit and quantiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.histogram import Histogram

INF = math.inf
BUCKETS = {0.1: 50.0, 0.2: 90.0, 0.5: 99.0, INF: 100.0}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 100), (0.05, 75), (0.1, 50), (0.15, 19.58), (0.2, 10), (0.35, 2.59), (0.5, 1), (0.6, 1), (INF, 0)],
)
def test_above(seconds: float, expected: float) -> None:
    assert Histogram.from_buckets(BUCKETS).above(seconds) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("q", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.7, 0.1283), (0.9, 0.2), (0.99, 0.5), (0.999, 0.5)]
)
def test_quantile(q: float, expected: float) -> None:
    assert Histogram.from_buckets(BUCKETS).quantile(q) == pytest.approx(expected, abs=0.001)


def test_empty_has_no_quantile() -> None:
    assert math.isnan(Histogram.from_buckets({}).quantile(0.5))
    assert Histogram.from_buckets({}).above(0.1) == 0


def test_counts_that_fall_after_a_scrape_gap_are_raised() -> None:
    assert Histogram.from_buckets({0.1: 10.0, 0.2: 8.0, INF: 12.0}).counts == (10.0, 10.0, 12.0)


@given(st.dictionaries(st.floats(0.001, 100), st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 200))
def test_above_is_between_nothing_and_everything(buckets: dict[float, float], seconds: float) -> None:
    histogram = Histogram.from_buckets({**buckets, INF: max(buckets.values())})
    assert -1e-6 <= histogram.above(seconds) <= histogram.total + 1e-6


@given(st.lists(st.integers(0, 2000), min_size=9, max_size=9).filter(any), st.floats(0.01, 0.99))
def test_quantile_and_above_are_each_others_inverse(counts: list[int], q: float) -> None:
    total, buckets = 0, {}
    for bound, count in zip((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, INF), counts, strict=True):
        total += count
        buckets[bound] = float(total)
    histogram = Histogram.from_buckets(buckets)
    seconds, wanted = histogram.quantile(q), (1 - q) * histogram.total
    assert seconds >= 1.0 or histogram.above(seconds * 1.001, 1 - q) <= wanted + 1e-6
    assert histogram.above(seconds * 0.999, 1 - q) >= wanted - 1e-6


def test_the_same_latencies_read_the_same_however_many_requests_there_were() -> None:
    few, many = ({0.01: 0.0, 0.05: float(n), INF: float(n)} for n in (1000, 100_000))
    assert Histogram.from_buckets(few).quantile(0.99) == pytest.approx(Histogram.from_buckets(many).quantile(0.99))


def test_a_tail_low_in_a_wide_bucket_is_found_where_it_is() -> None:
    """Log-normal with a median of 6.4 ms and a p99 of 20.5 ms, which spreading evenly puts at 24 ms."""

    def below(seconds: float) -> float:
        return 1e6 * 0.5 * math.erfc(-math.log(seconds / 0.0064) / 0.5 / math.sqrt(2))

    histogram = Histogram.from_buckets({bound: below(bound) for bound in (0.005, 0.01, 0.025, 0.05)} | {INF: 1e6})
    assert histogram.quantile(0.99) == pytest.approx(0.0205, rel=0.06)


def test_the_bound_above_is_counted_exactly() -> None:
    histogram = Histogram.from_buckets(BUCKETS)
    assert [histogram.bound_above(s) for s in (0.05, 0.1, 0.3, 9.0)] == [0.1, 0.1, 0.5, 0.5]
