"""A test of a share that may be looked at after every request, and acted on at any look: the mixture SPRT.

The likelihood of the counts under a mixture of worse shares, over their likelihood at the limit, is a non-negative
supermartingale as long as the true share is not above the limit. By Ville's inequality (1939) it ever reaches 1 / level
with a chance of at most `level`, however often, and whenever, somebody looks (Robbins, Annals of Mathematical Statistics 41,
1970; Johari, Koomen, Pekelis and Walsh, Operations Research 70, 2022). The mixture has a few points, so each look costs a
handful of logarithms, and a one-sided limit needs no correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from haldane.plan.proportions import Counts

WORSE: Mapping[float, float] = {
    1.15: 0.02,
    1.3: 0.03,
    1.5: 0.05,
    1.8: 0.1,
    2.2: 0.1,
    3.0: 0.2,
    5.0: 0.2,
    10.0: 0.2,
    30.0: 0.05,
    100.0: 0.05,
}
"""Odds of the alternatives, as multiples of the limit's odds, and how much each weighs. Far ones decide early, and what a small
weight costs is there a large part of the wait; near ones take many requests in any case, and the planned look sees them sooner.
"""

BETTER: Mapping[float, float] = dict.fromkeys((0.97, 0.94, 0.9, 0.85, 0.75, 0.6, 0.4, 0.15, 0.01), 1 / 9)
"""The same for the other direction: how high may stable's own share be, at the most?"""


def log_evidence(counts: Counts, limit: float, mixture: Mapping[float, float] = WORSE) -> float:
    """Logarithm of the likelihood ratio of `mixture` against a true share of `limit` (a fraction); -inf without requests."""
    if counts.requests <= 0.0:
        return -math.inf
    if limit <= 0.0:
        return math.inf if counts.hits > 0.0 else -math.inf
    if limit >= 1.0:
        return -math.inf
    terms = []
    for ratio, weight in mixture.items():
        # With the odds multiplied by r, the share of misses is divided by 1 + limit * (r - 1).
        misses = -math.log1p(limit * (ratio - 1.0))
        terms.append(math.log(weight) + counts.hits * math.log(ratio) + counts.requests * misses)
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms))


def is_shown_beyond(counts: Counts, limit: float, level: float) -> bool:
    """Whether the true share is shown to be above `limit`, with a chance of at most `level` to be ever wrong about it."""
    return log_evidence(counts, limit) >= -math.log(level)


def is_shown_below(counts: Counts, share: float, level: float) -> bool:
    """Whether the true share is shown to be below `share`, with a chance of at most `level` to be ever wrong about it."""
    return log_evidence(counts, share, BETTER) >= -math.log(level)


def upper_limit(counts: Counts, level: float) -> float:
    """A share that the true one is above, at any look ever, with a chance of at most `level`: a confidence sequence."""
    if counts.requests <= 0.0:
        return 1.0
    low, high = counts.share, 1.0
    threshold = -math.log(level)
    for _ in range(30):
        middle = (low + high) / 2
        if log_evidence(counts, middle, BETTER) >= threshold:
            high = middle
        else:
            low = middle
        if high - low < 1e-4 * high:
            break
    return high
