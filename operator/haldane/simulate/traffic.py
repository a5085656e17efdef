"""Requests as a service really gets them: a day's swing, bursts, incidents that all pods suffer, pods that hang, slow minutes.

What surrounds a rollout (`Surroundings`) is drawn once, second by second, and does not depend on what is decided: the same
surroundings can be played to several deciders. What each revision answers is then drawn for the share it gets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from haldane.plan.queries import BOUNDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


P99 = 2.3263478740408408
"""The standard normal distribution's 99 % point."""


@dataclass(frozen=True)
class Service:
    """What is true of stable. Times in seconds, rates per second, errors as fractions of the requests."""

    rate: float = 100.0
    errors: float = 0.01
    median: float = 0.020
    spread: float = 0.5
    """Standard deviation of the logarithm of the latency."""
    swing: float = 0.3
    """By how much the rate rises and falls in a day, as a part of it; a rollout begins at `rate`, at any hour."""
    bursts: float = 6 / 3600
    """Bursts of twice the rate, and how long they last."""
    burst_seconds: float = 20.0
    incidents: float = 1 / 3600
    """Times in which whatever answers fails in a tenth of its answers: a feature store that stumbles, a bad client."""
    incident_seconds: float = 20.0
    incident_errors: float = 0.1
    hangs: float = 0.5 / 3600
    """Times, for each pod alone, in which a pod fails in half of its answers."""
    hang_seconds: float = 2.0
    hang_errors: float = 0.5
    group: float = 1.1
    """Mean number of errors that come at once, geometrically distributed; with 1 each request fails for itself."""
    pod_rate: float = 20.0
    """Requests a second that one pod is made for."""
    slow_minutes: float = 0.05
    """Standard deviation of the latency's slow drift that all pods share, as a part of it; a load of twice the mean adds a tenth."""
    pod_difference: float = 0.02
    """Standard deviation of the latency between pods, as a part of it."""
    paced: bool = False
    """Whether requests come by the clock and are shared out in turn, as in a load test; otherwise they come as users' do."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with the candidate: factors on stable's own values, from `begins` seconds of its traffic on."""

    errors: float = 1.0
    more_errors: float = 0.0
    """Added to the error rate, as a fraction."""
    latency: float = 1.0
    begins: float = 0.0


@dataclass(frozen=True)
class Surroundings:
    """Second by second: what the whole service gets and suffers, whoever answers."""

    service: Service
    rate: Floats
    errors: Floats
    """Chance of an error that stable and a good candidate share, hangs aside."""
    slowness: Floats
    """Factor on the latency."""
    scraped: Ints
    """Seconds at which Prometheus takes its samples."""
    answers: NDArray[np.bool_]
    """Whether Prometheus answers queries."""

    @classmethod
    def draw(
        cls, service: Service, seconds: int, random: np.random.Generator, scrape: int = 15, gaps: bool = True
    ) -> Surroundings:
        """Draw them; `gaps` also takes away single scrapes, and Prometheus as a whole for a minute now and then."""
        time = np.arange(seconds)
        day = 1.0 + service.swing * np.sin(2 * math.pi * (time / 86_400 + random.random()))
        day /= day[0]
        burst = _times(seconds, service.bursts, service.burst_seconds, random)
        load = day * (1.0 + burst)
        incident = _times(seconds, service.incidents, service.incident_seconds, random)
        drift = _drift(seconds, 60.0, random)
        taken = np.arange(int(random.integers(scrape)), seconds, scrape)
        answers = np.ones(seconds, dtype=bool)
        if gaps:
            taken = taken[random.random(len(taken)) > 0.02]
            answers = _times(seconds, 1 / 7200, 60.0, random) == 0
            taken = taken[answers[taken]]
        slowness = np.exp(service.slow_minutes * drift) * (1.0 + 0.1 * (load - 1.0))
        return cls(
            service,
            service.rate * load / (1.0 + service.bursts * service.burst_seconds),
            _base_errors(service) + incident * service.incident_errors,
            slowness,
            taken,
            answers,
        )


def _base_errors(service: Service) -> float:
    """The steady part of the error rate: what incidents and hangs leave of it."""
    others = service.incidents * service.incident_seconds * service.incident_errors
    others += service.hangs * service.hang_seconds * service.hang_errors
    return max(0.0, service.errors - others)


def without_trouble(service: Service) -> Service:
    """The same rates with nothing but independent requests: what textbooks assume."""
    return replace(
        service, swing=0.0, bursts=0.0, incidents=0.0, hangs=0.0, group=1.0, slow_minutes=0.0, pod_difference=0.0
    )


def bucket_shares(median: Floats, spread: float) -> Floats:
    """Shares of log-normal latencies in each bucket (len(median), len(BOUNDS) + 1)."""
    z = (np.log(np.array(BOUNDS))[None, :] - np.log(median)[:, None]) / spread
    below = _normal(z)
    edges = np.concatenate([np.zeros((len(median), 1)), below, np.ones((len(median), 1))], axis=1)
    return np.maximum(0.0, np.diff(edges, axis=1))


def _normal(z: Floats) -> Floats:
    """The standard normal distribution, to 1e-7 (Abramowitz and Stegun, 26.2.17); numpy has none."""
    t = 1.0 / (1.0 + 0.2316419 * np.abs(z))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi) * series
    result: Floats = np.where(z >= 0, 1.0 - upper, upper)
    return result


def grouped(mean: Floats, group: float, random: np.random.Generator) -> Ints:
    """Counts with these means that come in geometric groups of more than one on average."""
    groups = random.poisson(mean / group)
    return groups + np.where(groups > 0, random.negative_binomial(np.maximum(groups, 1), 1.0 / group), 0)


def _times(seconds: int, rate: float, lasting: float, random: np.random.Generator) -> Floats:
    """1.0 in the seconds of events that begin at a rate and last an exponential time, 0.0 otherwise."""
    inside = np.zeros(seconds)
    for begin in random.integers(0, seconds, random.poisson(rate * seconds)):
        inside[begin : begin + max(1, int(random.exponential(lasting)))] = 1.0
    return inside


def _drift(seconds: int, memory: float, random: np.random.Generator) -> Floats:
    """A stationary random course of mean 0 and deviation 1 that forgets itself within `memory` seconds."""
    knots = max(2, int(seconds / memory) + 2)
    course = random.normal(size=knots + 2)
    smooth = (course[:-2] + course[1:-1] + course[2:]) / math.sqrt(3.0)
    return np.interp(np.arange(seconds) / memory, np.arange(knots), smooth)
