"""The tests on shares, against exact values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.proportions import (
    ABORT_LEVEL,
    Counts,
    OneSample,
    against_baseline,
    beyond,
    binomial_tail,
    detectable,
    normal_quantile,
)


def exact_tail(successes: int, trials: int, rate: float) -> float:
    return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(successes, trials + 1))


@pytest.mark.parametrize(
    ("successes", "trials", "rate"),
    [(0, 10, 0.1), (1, 10, 0.1), (10, 10, 0.1), (5, 100, 0.01), (60, 100, 0.5), (40, 100, 0.5), (3, 500, 0.01)],
)
def test_tail_is_exact(successes: int, trials: int, rate: float) -> None:
    assert binomial_tail(successes, trials, rate) == pytest.approx(exact_tail(successes, trials, rate), rel=1e-9)


@given(st.floats(1, 300), st.data(), st.floats(0.001, 0.999))
def test_tail_falls_with_successes_and_stays_a_probability(trials: float, data: st.DataObject, rate: float) -> None:
    successes = data.draw(st.floats(0, trials))
    here, next_one = binomial_tail(successes, trials, rate), binomial_tail(successes + 0.5, trials, rate)
    assert 0.0 <= next_one <= here + 1e-9
    assert here <= 1.0


@pytest.mark.parametrize(
    ("successes", "trials", "limit", "expected"),
    [
        (0, 0, 0.01, False),
        (1, 100, 0.01, False),
        (5, 100, 0.01, False),
        (6, 100, 0.01, True),
        (19, 1000, 0.02, False),
        (40, 1000, 0.02, True),
        (10, 10, 0.2, True),
        (4, 4, 0.2, False),
        (5, 5, 0.2, True),
        (5, 5, 0.0, True),
        (5, 5, 1.0, False),
    ],
)
def test_beyond(successes: int, trials: int, limit: float, expected: bool) -> None:
    assert beyond(successes, trials, limit) is expected


def test_a_million_requests_take_no_time_and_decide() -> None:
    assert not beyond(10_000, 1_000_000, 0.01)
    assert beyond(10_400, 1_000_000, 0.01)


def test_the_level_is_what_it_says() -> None:
    trials, limit = 1000, 0.02
    smallest = next(k for k in range(trials) if beyond(k, trials, limit))
    assert exact_tail(smallest, trials, limit) < ABORT_LEVEL <= exact_tail(smallest - 1, trials, limit)


@pytest.mark.parametrize(
    ("candidate", "baseline", "allowed", "low", "high"),
    [
        # With an endless baseline it is the exact test of one sample.
        (Counts(20, 1000), Counts(1e7, 1e9), 0.0, 0.0027, 0.0036),
        # Hypergeometric, by counting: 3 of 3 errors among 100 of 200 requests; 10 of 11 among 100 of 200.
        (Counts(3, 100), Counts(0, 100), 0.0, 0.08, 0.2),
        (Counts(10, 100), Counts(1, 100), 0.0, 0.002, 0.016),
        (Counts(0, 100), Counts(0, 100), 0.0, 1.0, 1.0),
        (Counts(10, 1000), Counts(0, 1000), 0.01, 0.4, 0.7),
        (Counts(20, 1000), Counts(10, 1000), 0.01, 0.4, 0.6),
        (Counts(100, 100), Counts(0, 1000), 0.01, 0.0, 1e-9),
        (Counts(1, 100), Counts(100, 100), 0.01, 0.99, 1.0),
    ],
)
def test_p_values_beside_a_baseline(
    candidate: Counts, baseline: Counts, allowed: float, low: float, high: float
) -> None:
    assert low <= against_baseline(candidate, baseline, allowed).p_value <= high


@given(st.integers(1, 400), st.integers(1, 400), st.data(), st.sampled_from([0.0, 0.001, 0.05]))
def test_any_two_counts_have_a_p_value(n: int, m: int, data: st.DataObject, allowed: float) -> None:
    candidate, baseline = Counts(data.draw(st.integers(0, n)), n), Counts(data.draw(st.integers(0, m)), m)
    assert 0.0 <= against_baseline(candidate, baseline, allowed).p_value <= 1.0


@pytest.mark.parametrize("requests", [200, 3000, 100_000])
def test_what_is_detectable_is_detected_four_times_in_five(requests: int) -> None:
    limit, level = 0.01, 0.0125
    smallest = next(k for k in range(requests) if OneSample(Counts(k, requests), limit).p_value < level)
    share = detectable(requests, limit, level)
    assert 0.72 < binomial_tail(smallest, requests, share) < 0.86
    assert limit < share < 1.0


def test_nothing_is_detectable_without_requests() -> None:
    assert detectable(0, 0.01, 0.01) == detectable(2, 0.9, 0.01) == detectable(100, 1.0, 0.01) == 1.0


@pytest.mark.parametrize(("probability", "z"), [(0.5, 0.0), (0.8, 0.8416), (0.975, 1.95996), (0.9875, 2.2414)])
def test_normal_quantile(probability: float, z: float) -> None:
    assert normal_quantile(probability) == pytest.approx(z, abs=1e-4)


def test_groups_are_worth_fewer_requests() -> None:
    assert Counts(10, 100).thinned(2.0) == Counts(5, 50)
    assert Counts().share == 0.0
