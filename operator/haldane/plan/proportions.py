"""Is a share truly beyond a limit, or is it noise? Two one-sided tests on counts of requests.

They are fixed-sample tests at a small level (`ALPHA`), looked at every interval.
"""

from __future__ import annotations

import math

ALPHA = 0.001
"""Chance that one look calls a share that sits exactly at its limit beyond it."""

Z = 3.0902323061678132
"""The standard normal's quantile at 1 - ALPHA."""


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """P(X >= successes) for X ~ Binomial(trials, rate), exactly up to floating point.

    Sums the terms upward from `successes`; they fall geometrically once past the mean, so the sum ends early.
    """
    if successes <= 0:
        return 1.0
    if successes > trials or rate <= 0.0:
        return 0.0
    if rate >= 1.0:
        return 1.0
    log_term = (
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        + successes * math.log(rate)
        + (trials - successes) * math.log1p(-rate)
    )
    if successes <= trials * rate:
        # Below the mean the tail is large and its terms still rise: the complement is the short sum.
        return 1.0 - _lower_sum(successes - 1, trials, rate)
    term = math.exp(log_term)
    total = term
    odds = rate / (1.0 - rate)
    for count in range(successes, trials):
        term *= (trials - count) / (count + 1) * odds
        total += term
        if term < total * 1e-16:
            break
    return min(total, 1.0)


def _lower_sum(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes) for `successes` below the mean, summed downward."""
    if successes < 0:
        return 0.0
    term = math.exp(
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        + successes * math.log(rate)
        + (trials - successes) * math.log1p(-rate)
    )
    total = term
    odds = (1.0 - rate) / rate
    for count in range(successes, 0, -1):
        term *= count / (trials - count + 1) * odds
        total += term
        if term < total * 1e-16:
            break
    return min(total, 1.0)


def beyond(successes: int, trials: int, limit: float) -> bool:
    """Whether the true share is shown to be above `limit` (a fraction): the exact one-sided binomial test at ALPHA."""
    return trials > 0 and binomial_tail(successes, trials, limit) < ALPHA


def risen(successes: int, trials: int, base_successes: int, base_trials: int, allowed: float) -> bool:
    """Whether the true share is shown to be more than `allowed` (a fraction) above the base's.

    Newcombe's hybrid score interval for the difference of two proportions (Statistics in Medicine 17, 1998, method 10),
    one-sided at ALPHA.
    """
    if trials == 0 or base_trials == 0:
        return False
    share, base = successes / trials, base_successes / base_trials
    lower = wilson(successes, trials)[0]
    base_upper = wilson(base_successes, base_trials)[1]
    return (share - base) - math.hypot(share - lower, base_upper - base) > allowed


def wilson(successes: int, trials: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927) for a proportion: lower and upper bound as fractions."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    spread = z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    margin = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - margin), min(1.0, centre + margin)
