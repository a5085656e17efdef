"""One look at a share of requests: how likely is what was counted, were the true share only at its limit?

Counts may be fractions of a request: a dispersion above 1 (`dispersion`) and the noise of a baseline both reduce the number
of requests that a conclusion may rest on, and the tail of the binomial distribution is continued between whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

ABORT_LEVEL = 0.001
"""Chance that one look calls a share that sits exactly at its `abort` limit beyond it."""

_CONVERGED = 1e-10
_TERMS = 20_000
_TINY = 1e-300
_VANISHING = 1e-9
"""A variance, for one request, that is as good as none."""


@dataclass(frozen=True)
class Counts:
    """Requests, and those of them that count against a limit: errors, or slow ones."""

    hits: float = 0.0
    requests: float = 0.0

    @property
    def share(self) -> float:
        """The observed share; 0 without requests."""
        return self.hits / self.requests if self.requests else 0.0

    def thinned(self, dispersion: float) -> Counts:
        """The independent requests that these are worth when hits come in groups."""
        return Counts(self.hits / dispersion, self.requests / dispersion)


def binomial_tail(hits: float, requests: float, share: float) -> float:
    """P(X >= hits) for X ~ Binomial(requests, share), continued to fractions by the regularised incomplete beta function.

    By its continued fraction (Abramowitz and Stegun, 26.5.8), evaluated by the modified Lentz algorithm.
    """
    if hits <= 0.0:
        return 1.0
    if hits > requests or share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0
    a, b = hits, requests - hits + 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(share) + b * math.log1p(-share)
    )
    if share < (a + 1.0) / (a + b + 2.0):
        return min(1.0, front * _fraction(a, b, share) / a)
    return max(0.0, 1.0 - front * _fraction(b, a, 1.0 - share) / b)


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1.0) < _CONVERGED:
            break
    return value


def beyond(hits: float, requests: float, limit: float, level: float = ABORT_LEVEL) -> bool:
    """Whether the true share is shown to be above `limit` (a fraction) by the exact one-sided binomial test."""
    return requests > 0 and binomial_tail(hits, requests, limit) < level


@dataclass(frozen=True)
class OneSample:
    """A two-sample question as one of a single sample: is the true share behind `counts` above `limit`?"""

    counts: Counts
    limit: float
    mirrored: OneSample | None = None
    """The same question asked of stable's misses, where those say more: a candidate near 1 varies too little to be asked."""

    @property
    def p_value(self) -> float:
        """Chance of at least as many hits, were the true share exactly at the limit."""
        if self.mirrored:
            return self.mirrored.p_value
        return binomial_tail(self.counts.hits, self.counts.requests, self.limit)


def against_baseline(candidate: Counts, baseline: Counts, allowed: float) -> OneSample:
    """Whether the candidate's true share is more than `allowed` (a fraction) above the baseline's, as one sample.

    The score statistic for a difference of two proportions (Farrington and Manning, Statistics in Medicine 9, 1990): both
    variances are taken where the two shares differ by exactly `allowed` and fit the counts best. The baseline's variance is
    put on the candidate's side, as fewer requests, so that the exact tail can be used, which is right for few hits as well.
    Where nearly all of the candidate's are hits, that tail says nothing: then the candidate's variance is put on the side of
    the baseline's misses.
    """
    base = _restricted(candidate, baseline, allowed)
    limit = min(1.0, base + allowed)
    mirrored = None
    if base + limit > 1.0 and base < 1.0 - _VANISHING:
        mirrored = _combined(_misses(baseline), _misses(candidate), 1.0 - limit, 1.0 - base)
    return replace(_combined(candidate, baseline, base, limit), mirrored=mirrored)


def _misses(counts: Counts) -> Counts:
    return Counts(counts.requests - counts.hits, counts.requests)


def _combined(candidate: Counts, baseline: Counts, base: float, limit: float) -> OneSample:
    spread = limit * (1.0 - limit)
    if spread <= _VANISHING:
        return OneSample(candidate, limit)
    requests = spread / (spread / candidate.requests + base * (1.0 - base) / baseline.requests)
    share = min(1.0, max(0.0, candidate.share - baseline.share + base))
    return OneSample(Counts(share * requests, requests), limit)


def _restricted(candidate: Counts, baseline: Counts, allowed: float) -> float:
    """The baseline's most likely share, given that the candidate's lies exactly `allowed` above it."""
    most = 1.0 - allowed
    if allowed == 0.0:
        return (candidate.hits + baseline.hits) / (candidate.requests + baseline.requests)

    def slope(share: float) -> float:
        return (
            candidate.hits / (share + allowed)
            - (candidate.requests - candidate.hits) / (1.0 - share - allowed)
            + baseline.hits / share
            - (baseline.requests - baseline.hits) / (1.0 - share)
        )

    low, high = 1e-12, max(2e-12, most - 1e-12)
    if slope(low) <= 0.0:
        return 0.0
    for _ in range(44):
        middle = (low + high) / 2
        if slope(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@lru_cache(maxsize=512)
def detectable(requests: float, limit: float, level: float, power: float = 0.8) -> float:
    """The smallest true share that one look at `requests` calls beyond `limit` with probability `power`; 1 at the most.

    The smallest share that would be called so is the binomial distribution's quantile by its first Cornish-Fisher terms;
    the true share above it is the upper end of Wilson's interval (1927).
    """
    if requests <= 0.0 or limit >= 1.0:
        return 1.0
    z = normal_quantile(1.0 - level)
    skew = (1.0 - 2.0 * limit) * (z * z - 1.0) / 6.0
    # Of a few requests near a limit of 1 the terms ask for less than the limit itself.
    needed = max(limit, limit + z * math.sqrt(limit * (1.0 - limit) / requests) + (skew + 0.5) / requests)
    if needed >= 1.0:
        return 1.0
    z = normal_quantile(power)
    spread = z * z / requests
    centre = (needed + spread / 2) / (1.0 + spread)
    margin = z * math.sqrt(needed * (1.0 - needed) / requests + spread / (4 * requests)) / (1.0 + spread)
    return min(1.0, centre + margin)


@lru_cache
def normal_quantile(probability: float) -> float:
    """The standard normal distribution's quantile, by bisection on its error function."""
    low, high = -40.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        if 0.5 * math.erfc(-middle / math.sqrt(2.0)) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
