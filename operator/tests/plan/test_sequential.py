"""The test that may be looked at at any time: its promise, by following every course that counts can take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.proportions import Counts
from haldane.plan.sequential import BETTER, WORSE, is_shown_below, is_shown_beyond, log_evidence, upper_limit

Says = Callable[[Counts, float, float], bool]


def ever(says: Says, share: float, limit: float, level: float, requests: int) -> float:
    """The exact chance that a look after any of the first `requests` requests says something of `share` and `limit`."""
    going_on, said = {0: 1.0}, 0.0
    for seen in range(1, requests + 1):
        following: dict[int, float] = {}
        for hits, chance in going_on.items():
            following[hits] = following.get(hits, 0.0) + chance * (1 - share)
            following[hits + 1] = following.get(hits + 1, 0.0) + chance * share
        going_on = {}
        for hits, chance in following.items():
            if says(Counts(hits, seen), limit, level):
                said += chance
            else:
                going_on[hits] = chance
    return said


@pytest.mark.parametrize(("share", "limit"), [(0.05, 0.05), (0.02, 0.05), (0.5, 0.5), (0.9, 0.9)])
def test_a_share_within_its_limit_is_hardly_ever_called_beyond_it_however_often_one_looks(
    share: float, limit: float
) -> None:
    assert ever(is_shown_beyond, share, limit, 0.05, 400) <= 0.05


def test_a_share_beyond_its_limit_is_found() -> None:
    assert ever(is_shown_beyond, 0.15, 0.05, 0.05, 400) > 0.99


@pytest.mark.parametrize(("share", "limit"), [(0.1, 0.1), (0.15, 0.1), (0.5, 0.5)])
def test_a_share_that_is_not_below_another_is_hardly_ever_called_so_however_often_one_looks(
    share: float, limit: float
) -> None:
    assert ever(is_shown_below, share, limit, 0.05, 300) <= 0.05


def test_a_share_below_another_is_found() -> None:
    assert ever(is_shown_below, 0.02, 0.1, 0.05, 300) > 0.99


@given(st.integers(0, 200), st.integers(1, 5000), st.floats(0.001, 0.5))
def test_more_hits_are_more_evidence(hits: int, more: int, limit: float) -> None:
    requests = hits + more
    assert log_evidence(Counts(hits, requests), limit) < log_evidence(Counts(hits + 1, requests), limit)


@pytest.mark.parametrize("mixture", [WORSE, BETTER])
def test_the_weights_of_a_mixture_are_all_of_it(mixture: Mapping[float, float]) -> None:
    assert sum(mixture.values()) == pytest.approx(1.0, abs=1e-12), "with more of them the promise would not hold"


def test_limits_at_the_edges() -> None:
    assert log_evidence(Counts(), 0.1) == -math.inf
    assert log_evidence(Counts(1, 10), 0.0) == math.inf
    assert log_evidence(Counts(0, 10), 0.0) == -math.inf
    assert log_evidence(Counts(10, 10), 1.0) == -math.inf
    assert not is_shown_below(Counts(0, 1000), 0.0, 0.01)
    assert not is_shown_below(Counts(0, 1000), 1.0, 0.01), "a limit of 1 is none"


def test_the_upper_limit_closes_in_from_above() -> None:
    limits = [upper_limit(Counts(n / 100, n), 0.0025) for n in (100, 1000, 10_000, 100_000)]
    assert all(later < earlier for earlier, later in pairwise(limits))
    assert 0.01 < limits[-1] < 0.0115
    assert upper_limit(Counts(), 0.01) == 1.0
