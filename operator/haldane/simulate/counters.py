"""The counters of one revision as Prometheus scraped them, and what its `increase` makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from haldane.plan.queries import BOUNDS
from haldane.simulate.traffic import P99, Fault, Floats, Ints, Surroundings, bucket_shares, grouped

TOTAL, ERRORS, FIRST_BUCKET = 0, 1, 2
STALE = 300
"""Seconds after which Prometheus forgets a sample, by its default."""
COLUMNS = FIRST_BUCKET + len(BOUNDS) + 1


@dataclass
class Counters:
    """Cumulative counts at each scrape: all requests, errors, then the buckets (not cumulative over buckets)."""

    surroundings: Surroundings
    random: np.random.Generator
    fault: Fault = field(default_factory=Fault)
    resets: float = 1 / 7200
    """Restarts of a container a second; what came since the scrape before is lost."""
    unseen: int = 0
    """Seconds of its traffic in which Prometheus does not know its pods yet."""
    times: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: Floats = field(default_factory=lambda: np.zeros((0, COLUMNS)))
    share: Floats = field(init=False)
    """Part of the service's requests that it gets, by the second."""
    began: int | None = None

    def __post_init__(self) -> None:
        self.share = np.zeros(len(self.surroundings.rate))
        service = self.surroundings.service
        self._slower = math.exp(service.pod_difference * self.random.normal())
        self._drawn_to = 0

    def serve(self, share: float, now: int) -> None:
        """Get this part of the requests from `now` on; what Prometheus has seen before stays as it is."""
        self.share[now:] = share
        if share > 0 and self.began is None:
            self.began = now
        kept = int(np.searchsorted(self.times, now, side="right"))
        self.times, self.counts = self.times[:kept], self.counts[:kept]
        self._drawn_to = now

    def at(self, now: int, window: int) -> Floats | None:
        """`increase(...[window])` of every column at `now`, as Prometheus extrapolates it; None without two samples."""
        if now > self._drawn_to:
            self._draw(now)
        first = int(np.searchsorted(self.times, now - window, side="right"))
        last = int(np.searchsorted(self.times, now, side="right")) - 1
        if last <= first:
            return None
        begin, end = int(self.times[first]), int(self.times[last])
        gained: Floats = self.counts[last] - self.counts[first]
        sampled, usual = end - begin, (end - begin) / (last - first)
        before, after = begin - (now - window), now - end
        until_zero = np.where(gained > 0, sampled * self.counts[first] / np.maximum(gained, 1e-9), np.inf)
        earlier = np.minimum(until_zero, before if before < 1.1 * usual else usual / 2)
        later = after if after < 1.1 * usual else usual / 2
        return gained * (sampled + earlier + later) / sampled

    def scraped(self, now: int) -> Floats | None:
        """Every column by the last scrape at `now`; None when there was none, or none for `STALE` seconds."""
        if now > self._drawn_to:
            self._draw(now)
        last = int(np.searchsorted(self.times, now, side="right")) - 1
        return None if last < 0 or now - self.times[last] > STALE else self.counts[last]

    def harm(self) -> tuple[float, float]:
        """Requests answered up to the horizon, and how many of them the fault spoilt, both as expected."""
        got = self.surroundings.rate * self.share
        faulty = self._faulty(np.arange(len(got)))
        errors = self.surroundings.errors * (self.fault.errors - 1.0) + self.fault.more_errors
        # Of the logarithm's normal distribution: how far beyond its 99 % point lies what the fault lifts over stable's p99?
        beyond = P99 - math.log(self.fault.latency) / self.surroundings.service.spread
        slow = 0.5 * math.erfc(beyond / math.sqrt(2.0)) - 0.01 if self.fault.latency > 1.0 else 0.0
        return float(got.sum()), float((got * np.minimum(1.0, errors + slow) * faulty).sum())

    def _draw(self, now: int, ahead: int = 240) -> None:
        """Draw what the scrapes from the last one to a while after `now` find."""
        around = self.surroundings
        since = int(self.times[-1]) if len(self.times) else 0
        until = min(len(around.rate), now + ahead)
        self._drawn_to = until
        known = since if self.began is None or not self.unseen else max(since, self.began + self.unseen - 1)
        scraped = around.scraped[(around.scraped > known) & (around.scraped < until)]
        if not len(scraped):
            return
        edges = np.concatenate([[since], scraped])
        got = _sums(around.rate * self.share, edges)
        buckets = self._requests(got, scraped)
        total = buckets.sum(axis=1)
        errors = np.minimum(self._errors(got, total, edges), total)
        counted = np.concatenate([total[:, None], errors[:, None], buckets], axis=1)
        lost = self.random.random(len(scraped)) < self.resets * np.diff(edges)
        if lost.any():
            counted[lost] = self.random.binomial(counted[lost].astype(np.int64), self.random.random())
        base = self.counts[-1] if len(self.counts) else np.zeros(COLUMNS)
        self.counts = np.concatenate([self.counts, base + np.cumsum(counted, axis=0)])
        self.times = np.concatenate([self.times, scraped])

    def _faulty(self, seconds: Ints) -> NDArray[np.bool_]:
        begins = math.inf if self.began is None else self.began + self.fault.begins
        return seconds >= begins

    def _requests(self, got: Floats, scraped: Ints) -> Floats:
        service = self.surroundings.service
        slower = np.where(self._faulty(scraped), self.fault.latency, 1.0) * self._slower
        median = service.median * self.surroundings.slowness[scraped] * slower
        shares = bucket_shares(median, service.spread)
        if not service.paced:
            return self.random.poisson(got[:, None] * shares).astype(np.float64)
        turns = np.floor(np.cumsum(got) + self.random.random())
        total = np.diff(turns, prepend=0.0).astype(np.int64)
        return self.random.multinomial(total, shares / shares.sum(axis=1, keepdims=True)).astype(np.float64)

    def _errors(self, got: Floats, total: Floats, edges: Ints) -> Floats:
        around, service = self.surroundings, self.surroundings.service
        chance = around.errors * np.where(self._faulty(np.arange(len(around.errors))), self.fault.errors, 1.0)
        chance = chance + np.where(self._faulty(np.arange(len(around.errors))), self.fault.more_errors, 0.0)
        mean = _sums(around.rate * self.share * chance, edges)
        if service.group > 1.0:
            errors = grouped(mean, service.group, self.random).astype(np.float64)
        else:
            part = np.divide(mean, got, out=np.zeros_like(mean), where=got > 0.0)
            errors = self.random.binomial(total.astype(np.int64), np.minimum(part, 1.0)).astype(np.float64)
        if service.hangs > 0:
            errors += self._hangs(got, np.diff(edges))
        return errors

    def _hangs(self, got: Floats, seconds: Ints) -> Floats:
        """Errors of pods that hang for a while, each alone: as many pods as the requests need."""
        service = self.surroundings.service
        pods = np.ceil(got / np.maximum(seconds, 1) / service.pod_rate)
        times = self.random.poisson(pods * service.hangs * seconds)
        errors = np.zeros(len(got))
        for index in np.nonzero(times)[0]:
            lasting = self.random.exponential(service.hang_seconds, times[index]).sum()
            of_one_pod = got[index] / max(1, seconds[index]) / max(1.0, pods[index])
            errors[index] = self.random.poisson(lasting * of_one_pod * service.hang_errors)
        return errors


def _sums(by_second: Floats, edges: Ints) -> Floats:
    """Sums between two edges each, the later one included."""
    total = np.concatenate([[0.0], np.cumsum(by_second)])
    result: Floats = np.diff(total[edges + 1])
    return result
