"""How unevenly hits come, out of cumulative counts."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from haldane.plan import dispersion
from haldane.plan.evidence import Evidence
from haldane.plan.proportions import Counts

EARLIER = ("earlier_looks", "earlier_requests", "earlier_hits", "earlier_squares")


def follow(steps: list[tuple[int, int, int]]) -> Evidence:
    evidence, total = None, [0, 0, 0]
    for step in steps:
        total = [before + more for before, more in zip(total, step, strict=True)]
        evidence = dispersion.seen(evidence, *total)
    assert evidence is not None
    return evidence


def draws(chance: random.Random, size: int, cluster: int = 1, looks: int = 40) -> list[tuple[int, int, int]]:
    """Intervals of 1000 requests with hits in groups of `cluster`, and stable's beside them."""

    def hits() -> int:
        return cluster * sum(chance.random() < size / 1000 / cluster for _ in range(1000))

    return [(1000, hits(), hits()) for _ in range(looks)]


def test_independent_hits_have_a_dispersion_of_about_one_and_groups_that_of_their_size() -> None:
    chance = random.Random(1)
    single = [follow(draws(chance, 10)) for _ in range(25)]
    grouped = [follow(draws(chance, 10, cluster=4)) for _ in range(25)]
    for measure in (dispersion.alone, dispersion.beside_baseline):
        assert 1.0 <= statistics.mean(map(measure, single)) < 1.25
        assert 2.8 < statistics.mean(map(measure, grouped)) < 4.5


def test_an_incident_of_both_says_nothing_about_the_candidate_alone() -> None:
    chance = random.Random(2)
    evidence = follow(
        [(n, 5 * e, 5 * b) if 10 <= i < 14 else (n, e, b) for i, (n, e, b) in enumerate(draws(chance, 10))]
    )
    assert dispersion.alone(evidence) > 5
    assert dispersion.beside_baseline(evidence) < 3


@pytest.mark.parametrize(
    ("came", "left"),
    [
        ([(100, 50)], 0.0),  # one interval alone proves nothing
        ([(100, 1), (100, 50), (100, 1)], 3.0),  # one burst counts as any other interval
        ([(100, 1), (100, 50), (100, 40)], 81.0),  # two are no burst
        ([(100, 10), (100, 10), (100, 10)], 30.0),  # an even course loses nothing
        ([(200, 20), (100, 10), (10, 1)], 31.0),  # nor does one of uneven intervals
        ([(1, 1), (100, 50), (100, 1)], 3.0),  # an interval of few requests is no burst, and hides none
        ([(100, 0), (100, 0), (100, 7)], 0.0),
    ],
)
def test_the_worst_interval_counts_as_the_second_worst(came: list[tuple[int, int]], left: float) -> None:
    evidence = follow([(requests, hits, 0) for requests, hits in came])
    counts = Counts(sum(hits for _, hits in came), sum(requests for requests, _ in came))
    winsorized = dispersion.winsorized(counts, evidence)
    assert winsorized.hits == pytest.approx(left)
    assert winsorized.requests == counts.requests


def test_hits_beyond_another_bound_came_as_evenly() -> None:
    evidence = follow([(100, 1, 0), (100, 50, 0), (100, 1, 0)])
    assert dispersion.winsorized(Counts(104, 300), evidence).hits == pytest.approx(6.0)
    unknown = follow([(100, 0, 0), (300, 0, 0)])
    assert dispersion.winsorized(Counts(40, 400), unknown).hits == pytest.approx(10.0), "as if they came evenly"


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12))
def test_it_only_ever_takes_hits_away_and_no_more_than_the_worst_interval_has(came: list[tuple[int, int]]) -> None:
    intervals = [(hits + others, hits) for hits, others in came if hits + others]
    assume(intervals)
    evidence = follow([(requests, hits, 0) for requests, hits in intervals])
    counts = Counts(evidence.hits, evidence.requests)
    left = dispersion.winsorized(counts, evidence)
    assert left.requests == counts.requests
    most = max(hits for _, hits in intervals)
    assert counts.hits - most - 1e-6 <= left.hits <= counts.hits


def test_a_line_that_kept_no_second_worst_interval_is_read_with_caution() -> None:
    line = follow([(100, 10, 0)] * 5).to_text().split()
    before = Evidence.from_text(" ".join(line[:15]))
    assert before is not None
    assert dispersion.winsorized(Counts(50, 500), before).hits == pytest.approx(40.0)


def test_one_look_or_no_hits_say_nothing() -> None:
    assert dispersion.alone(follow([(1000, 50, 0)])) == 1.0
    assert dispersion.beside_baseline(follow([(1000, 0, 5), (1000, 0, 5)])) == 1.0


def test_counts_that_fell_and_another_bound_begin_anew() -> None:
    before = dispersion.seen(None, 1000, 10, 5)
    fell = dispersion.seen(before, 900, 8, 5)
    assert (fell.looks, fell.requests, fell.hits) == (1, 900, 8)
    other = dispersion.seen(before, 2000, 10, 5, bound=0.1)
    assert (other.looks, other.bound) == (1, 0.1)


def test_what_ended_steps_counted_is_added_up_once() -> None:
    chance = random.Random(4)
    steps = [follow(draws(chance, 10, cluster=4, looks=looks)) for looks in (10, 30)]
    carried = steps[0].for_the_next_step()
    assert dispersion.with_earlier(Counts(5, 100), steps[0]) is None
    assert (carried.looks, carried.planned, carried.requests, carried.hits) == (0, 0, 0, 0)
    both = replace(steps[1], **{name: getattr(carried, name) for name in EARLIER})
    again = both.for_the_next_step()
    assert again.earlier_requests == 40_000
    assert again.earlier_hits == steps[0].hits + steps[1].hits
    pool = dispersion.with_earlier(Counts(steps[1].hits, 30_000), both)
    assert pool is not None
    assert pool.counts == Counts(again.earlier_hits, 40_000)
    assert 2.5 < pool.dispersion < 5, "groups of four are worth a quarter"
    assert abs(pool.worth.requests - 40_000 / pool.dispersion) < 1e-6


def test_a_first_look_keeps_what_ended_steps_counted_but_not_of_another_bound_or_kind() -> None:
    carried = dispersion.seen(None, 1000, 10, None).for_the_next_step()
    kept = dispersion.seen(carried, 500, 4, None)
    assert (kept.looks, kept.requests, kept.earlier_requests, kept.earlier_hits) == (1, 500, 1000, 10)
    assert dispersion.seen(carried, 500, 4, None, bound=0.1).earlier_requests == 0
    assert dispersion.seen(carried, 500, 4, None, kind=7).earlier_requests == 0


def test_a_line_that_knows_nothing_of_earlier_steps_is_read() -> None:
    line = " ".join(Evidence(looks=2, planned=1, requests=9, squares=0.5, bound=0.1).to_text().split()[:11])
    assert Evidence.from_text(line) == Evidence(looks=2, planned=1, requests=9, squares=0.5, bound=0.1)


def test_stable_alone_without_hits_is_no_baseline() -> None:
    evidence = follow([(1000, 5, 0), (1000, 7, 0), (1000, 6, 0)])
    assert dispersion.beside_baseline(evidence) == dispersion.alone(evidence)


def test_evidence_goes_through_status_as_text() -> None:
    chance = random.Random(3)
    evidence = follow(draws(chance, 10))
    again = Evidence.from_text(evidence.to_text())
    assert again is not None
    assert (again.looks, again.hits, again.hits_together) == (evidence.looks, evidence.hits, evidence.hits_together)
    assert abs(dispersion.alone(again) - dispersion.alone(evidence)) < 1e-6
    assert Evidence.from_text(None) is None
    assert Evidence.from_text("1 2 3") is None
    assert Evidence.from_text("a b c d e f g h i") is None
