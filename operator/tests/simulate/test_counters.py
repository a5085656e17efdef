"""Counters as Prometheus would see them."""

from __future__ import annotations

import numpy as np
import pytest

from haldane.simulate.counters import ERRORS, FIRST_BUCKET, TOTAL, Counters
from haldane.simulate.traffic import Fault, Service, Surroundings, without_trouble


def counters(fault: Fault | None = None, seconds: int = 1200, service: Service | None = None) -> Counters:
    random = np.random.default_rng(3)
    around = Surroundings.draw(without_trouble(service or Service()), seconds, random, gaps=False)
    return Counters(around, random, fault or Fault(), resets=0.0)


def test_an_increase_is_what_came_extrapolated_to_the_window() -> None:
    stable = counters()
    stable.serve(1.0, 0)
    gained = stable.at(1000, 600)
    assert gained is not None
    assert gained[TOTAL] == pytest.approx(60_000, rel=0.02)
    assert gained[ERRORS] == pytest.approx(600, rel=0.15)
    assert gained[FIRST_BUCKET:].sum() == pytest.approx(gained[TOTAL])


def test_one_sample_gives_no_increase() -> None:
    stable = counters()
    stable.serve(1.0, 0)
    assert stable.at(1000, 10) is None
    assert stable.at(3, 600) is None


def test_a_new_weight_counts_from_then_on_and_changes_nothing_that_was_seen() -> None:
    candidate = counters()
    candidate.serve(0.05, 300)
    before = candidate.at(600, 250)
    again = candidate.at(600, 250)
    assert before is not None
    assert again is not None
    assert (before == again).all()
    candidate.serve(0.5, 600)
    after = candidate.at(900, 250)
    assert after is not None
    assert after[TOTAL] / before[TOTAL] == pytest.approx(10, rel=0.15)


def test_faults_show_in_the_counters_and_in_the_harm() -> None:
    candidate = counters(Fault(more_errors=0.1, latency=1.3, begins=300.0))
    candidate.serve(0.5, 0)
    early, late = candidate.at(290, 200), candidate.at(1100, 200)
    assert early is not None
    assert late is not None
    assert early[ERRORS] / early[TOTAL] < 0.03
    assert late[ERRORS] / late[TOTAL] == pytest.approx(0.11, rel=0.15)
    served, spoilt = candidate.harm()
    assert served == pytest.approx(60_000)
    # 900 s at 50 requests/s, of which 10 % are errors and 3.6 - 1 % are slower than stable's p99.
    assert spoilt == pytest.approx(45_000 * (0.1 + 0.0256), rel=0.02)
    good = counters()
    good.serve(0.5, 0)
    assert good.harm()[1] == 0.0


def test_a_restart_loses_what_was_not_scraped_and_nothing_else() -> None:
    random = np.random.default_rng(4)
    around = Surroundings.draw(without_trouble(Service()), 3600, random, gaps=False)
    restarted = Counters(around, random, resets=1 / 300)
    restarted.serve(1.0, 0)
    gained = restarted.at(3500, 3000)
    assert gained is not None
    assert 0.93 * 300_000 < gained[TOTAL] < 300_000
    assert (np.diff(restarted.counts, axis=0) >= 0).all()


def test_errors_are_a_part_of_the_requests_that_came() -> None:
    """Drawn beside them, errors of a fifth would vary by a quarter more."""
    candidate = counters(Fault(more_errors=0.2), seconds=60_000, service=Service(errors=0.0, group=1.0))
    candidate.serve(0.05, 0)
    assert candidate.at(59_000, 58_000) is not None
    came = np.diff(candidate.counts, axis=0)
    left = came[:, ERRORS] - 0.2 * came[:, TOTAL]
    assert left.var() == pytest.approx(0.2 * 0.8 * came[:, TOTAL].mean(), rel=0.15)


def test_paced_requests_are_shared_out_in_turn() -> None:
    candidate = counters(Fault(more_errors=0.2), service=Service(errors=0.0, rate=100.0, paced=True))
    candidate.serve(0.05, 0)
    assert candidate.at(1190, 1000) is not None
    came, seconds = np.diff(candidate.counts[:, TOTAL]), np.diff(candidate.times)
    assert np.abs(came - 5.0 * seconds).max() <= 1.0


def test_pods_that_prometheus_meets_late_are_known_by_their_last_sample_alone() -> None:
    candidate = counters()
    candidate.unseen = 20
    candidate.serve(0.05, 600)
    assert candidate.scraped(619) is None
    candidate.scraped(1100)
    first = int(candidate.times[0])
    assert 619 <= first < 635
    counts = candidate.scraped(first)
    assert counts is not None
    assert counts[TOTAL] == pytest.approx(5.0 * (first - 600), rel=0.3), "with what came before it was known"
    assert candidate.at(first, 40) is None, "increase needs two samples"
