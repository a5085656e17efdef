"""The tests on shares, against exact values and against simulation by counting."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.proportions import ALPHA, beyond, binomial_tail, risen, wilson


def exact_tail(successes: int, trials: int, rate: float) -> float:
    return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(successes, trials + 1))


@pytest.mark.parametrize(
    ("successes", "trials", "rate"),
    [(0, 10, 0.1), (1, 10, 0.1), (10, 10, 0.1), (5, 100, 0.01), (60, 100, 0.5), (40, 100, 0.5), (3, 500, 0.01)],
)
def test_tail_is_exact(successes: int, trials: int, rate: float) -> None:
    assert binomial_tail(successes, trials, rate) == pytest.approx(exact_tail(successes, trials, rate), rel=1e-9)


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.999))
def test_tail_falls_with_successes_and_stays_a_probability(trials: int, data: st.DataObject, rate: float) -> None:
    successes = data.draw(st.integers(0, trials))
    here, next_one = binomial_tail(successes, trials, rate), binomial_tail(successes + 1, trials, rate)
    assert 0.0 <= next_one <= here + 1e-12
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


@given(st.integers(1, 2000), st.data())
def test_wilson_holds_the_share(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    lower, upper = wilson(successes, trials)
    assert 0 <= lower <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= upper <= 1


@pytest.mark.parametrize(
    ("counts", "allowed", "expected"),
    [
        ((20, 1000, 10, 1000), 0.01, False),
        ((60, 1000, 10, 1000), 0.01, True),
        ((100, 100, 0, 1000), 0.01, True),
        ((3, 100, 1, 100), 0.01, False),
        ((0, 0, 1, 100), 0.01, False),
        ((5, 100, 0, 0), 0.01, False),
    ],
)
def test_risen(counts: tuple[int, int, int, int], allowed: float, expected: bool) -> None:
    assert risen(*counts, allowed) is expected


def test_the_level_is_what_it_says() -> None:
    trials, limit = 1000, 0.02
    smallest = next(k for k in range(trials) if beyond(k, trials, limit))
    assert exact_tail(smallest, trials, limit) < ALPHA <= exact_tail(smallest - 1, trials, limit)
