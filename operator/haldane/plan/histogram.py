"""Reads a Prometheus classic histogram: cumulative counts by upper bound.

Between two bounds the share that takes longer is taken to fall by a power of the duration, as tails of latencies do nearly.
PromQL's `histogram_quantile` spreads requests evenly in a bucket instead: a p99 low in a wide bucket is then shown near its
upper bound (24 ms for 20 ms, between bounds of 10 and 25 ms), and a version that is 30 % slower looks hardly so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FLOOR = 0.25
"""What is added to every share of slow requests before its logarithm is taken, as a part of the share in question.

Then what is read between two bounds never varies more than a count of its own would, however few requests took longer than
the upper one, and it is the same for two revisions that are the same, however many requests each of them got.
"""


@dataclass(frozen=True)
class Histogram:
    """Requests by duration. `bounds` are upper bounds in seconds, rising, the last is infinite; `counts` are cumulative."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @classmethod
    def from_buckets(cls, buckets: Mapping[float, float]) -> Histogram:
        """Build from `le` -> cumulative count. Counts that a scrape gap made fall are raised to the one before."""
        bounds = tuple(sorted(bound for bound in buckets if not math.isnan(bound)))
        counts: list[float] = []
        for bound in bounds:
            counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
        return cls(bounds, tuple(counts))

    @property
    def total(self) -> float:
        """Number of requests."""
        return self.counts[-1] if self.counts else 0.0

    def bound_above(self, seconds: float) -> float:
        """The lowest finite bound that is not below `seconds`, or the highest finite one: what is counted exactly."""
        finite = [bound for bound in self.bounds if not math.isinf(bound)]
        return next((bound for bound in finite if bound >= seconds), finite[-1] if finite else math.inf)

    @property
    def highest(self) -> float:
        """The highest finite bound: nobody knows how much longer requests took than that."""
        return self.bound_above(math.inf)

    def above(self, seconds: float, tail: float = 0.01) -> float:
        """Requests that took longer than `seconds`; where that is beyond the highest finite bound, all that are: no more took so long.

        `tail` is the share of slow requests that the question is about, 1 - q for the q-quantile.
        """
        for lower, upper, longer_than_lower, longer in self._buckets():
            if seconds < upper:
                if math.isinf(upper):
                    return longer_than_lower
                if lower <= 0.0:
                    return longer_than_lower - (longer_than_lower - longer) * max(0.0, seconds) / upper
                part = math.log(seconds / lower) / math.log(upper / lower)
                floor = tail * _FLOOR * self.total
                fall = math.log((longer + floor) / (longer_than_lower + floor)) if longer_than_lower else 0.0
                return max(longer, (longer_than_lower + floor) * math.exp(part * fall) - floor)
        return 0.0

    def quantile(self, q: float) -> float:
        """The duration in seconds that the share 1 - q takes longer than; the inverse of `above`.

        The highest finite bound when it lies beyond that; NaN without requests.
        """
        if self.total <= 0:
            return math.nan
        wanted = (1.0 - q) * self.total
        floor, highest = wanted * _FLOOR, 0.0
        for lower, upper, longer_than_lower, longer in self._buckets():
            if math.isinf(upper):
                return lower
            highest = upper
            if longer <= wanted:
                if longer_than_lower <= longer:
                    return upper
                if lower <= 0.0:
                    return upper * (longer_than_lower - wanted) / (longer_than_lower - longer)
                fall = math.log((longer + floor) / (longer_than_lower + floor))
                if fall == 0.0:  # they differ by less than what the division can tell
                    return upper
                part = math.log((wanted + floor) / (longer_than_lower + floor)) / fall
                return lower * math.exp(math.log(upper / lower) * min(1.0, max(0.0, part)))
        return highest

    def _buckets(self) -> Iterator[tuple[float, float, float, float]]:
        """Each bucket's bounds, and how many requests took longer than each of the two."""
        lower, below = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            yield lower, bound, self.total - below, self.total - count
            lower, below = bound, count
