"""The traffic is what its description says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from haldane.plan.queries import BOUNDS
from haldane.simulate.traffic import Service, Surroundings, bucket_shares, grouped, without_trouble


def test_rates_and_errors_are_those_that_were_asked_for() -> None:
    random = np.random.default_rng(1)
    service = Service()
    drawn = [Surroundings.draw(service, 3600, random) for _ in range(60)]
    hangs = service.hangs * service.hang_seconds * service.hang_errors
    assert np.mean([around.rate.mean() for around in drawn]) == pytest.approx(100, rel=0.03)
    assert np.mean([around.errors.mean() for around in drawn]) + hangs == pytest.approx(0.01, rel=0.1)
    assert np.mean([around.slowness.mean() for around in drawn]) == pytest.approx(1.0, rel=0.05)


def test_without_trouble_nothing_varies() -> None:
    around = Surroundings.draw(without_trouble(Service()), 600, np.random.default_rng(1), gaps=False)
    assert around.rate == pytest.approx(np.full(600, 100.0))
    assert around.errors == pytest.approx(np.full(600, 0.01))
    assert list(np.diff(around.scraped)) == [15] * (len(around.scraped) - 1)
    assert around.answers.all()


def test_buckets_hold_the_log_normal_distribution() -> None:
    shares = bucket_shares(np.array([0.02, 0.1]), 0.5)
    assert shares.sum(axis=1) == pytest.approx(np.ones(2))
    below = shares[0][: BOUNDS.index(0.05) + 1].sum()
    assert below == pytest.approx(0.5 * math.erfc(-math.log(2.5) / 0.5 / math.sqrt(2)), abs=1e-6)


@pytest.mark.parametrize("group", [1.1, 1.5, 3.0])
def test_groups_keep_the_mean_and_raise_the_variance(group: float) -> None:
    counts = grouped(np.full(40_000, 6.0), group, np.random.default_rng(2))
    assert counts.mean() == pytest.approx(6.0, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(2 * group - 1, rel=0.05)
