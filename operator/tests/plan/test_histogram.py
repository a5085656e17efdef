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
    ("seconds", "expected"), [(0.0, 100), (0.1, 50), (0.15, 30), (0.2, 10), (0.35, 5.5), (0.5, 1), (0.6, 0)]
)
def test_above(seconds: float, expected: float) -> None:
    assert Histogram.from_buckets(BUCKETS).above(seconds) == pytest.approx(expected)


@pytest.mark.parametrize(("q", "expected"), [(0.5, 0.1), (0.7, 0.15), (0.9, 0.2), (0.99, 0.5), (0.999, 0.5)])
def test_quantile(q: float, expected: float) -> None:
    assert Histogram.from_buckets(BUCKETS).quantile(q) == pytest.approx(expected)


def test_empty_has_no_quantile() -> None:
    assert math.isnan(Histogram.from_buckets({}).quantile(0.5))
    assert Histogram.from_buckets({}).above(0.1) == 0


def test_counts_that_fall_after_a_scrape_gap_are_raised() -> None:
    assert Histogram.from_buckets({0.1: 10.0, 0.2: 8.0, INF: 12.0}).counts == (10.0, 10.0, 12.0)


@given(st.dictionaries(st.floats(0.001, 100), st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 200))
def test_above_is_between_nothing_and_everything(buckets: dict[float, float], seconds: float) -> None:
    histogram = Histogram.from_buckets({**buckets, INF: max(buckets.values())})
    assert -1e-6 <= histogram.above(seconds) <= histogram.total + 1e-6
