"""Medians and spreads of readings that were taken in several rounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.runtime.loads import Reading


@dataclass(frozen=True, slots=True)
class Summary:
    """Over the rounds of one cell: medians, and the lowest and highest rate."""

    rate: float
    low: float
    high: float
    p50: float
    p99: float
    p99_low: float
    p99_high: float
    failed: int
    server_cores: float
    load_cores: float
    foreign_cores: float

    @property
    def spread(self) -> float:
        """Half the range of the rates as a share of the median."""
        return (self.high - self.low) / 2 / self.rate if self.rate else math.inf

    @property
    def cost(self) -> float:
        """Seconds of processor time that the server spends on one answer; steadier than the rate on a busy machine."""
        return self.server_cores / self.rate if self.rate else math.inf


def summarise(readings: Sequence[Reading]) -> Summary:
    """At least one reading."""
    rates, tails = [reading.rate for reading in readings], [reading.p99 for reading in readings]
    return Summary(
        rate=median(rates),
        low=min(rates),
        high=max(rates),
        p50=median(reading.p50 for reading in readings),
        p99=median(tails),
        p99_low=min(tails),
        p99_high=max(tails),
        failed=sum(reading.failed for reading in readings),
        server_cores=median(reading.server_cores for reading in readings),
        load_cores=median(reading.load_cores for reading in readings),
        foreign_cores=median(reading.foreign_cores for reading in readings),
    )
