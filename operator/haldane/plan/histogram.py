"""Reads a Prometheus classic histogram: cumulative counts by upper bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


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

    def above(self, seconds: float) -> float:
        """Requests that took longer than `seconds`; inside a bucket they count as spread evenly."""
        below, lower = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if seconds < bound:
                if math.isinf(bound):
                    return self.total - below if seconds <= lower else 0.0
                part = (seconds - lower) / (bound - lower)
                return self.total - (below + (count - below) * part)
            below, lower = count, bound
        return 0.0

    def quantile(self, q: float) -> float:
        """The q-quantile in seconds by linear interpolation inside a bucket, as PromQL's histogram_quantile does.

        The largest finite bound when it lies beyond that; NaN without requests.
        """
        if self.total <= 0:
            return math.nan
        rank = q * self.total
        below, lower = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 0.0)
            below, lower = count, bound
        return lower
