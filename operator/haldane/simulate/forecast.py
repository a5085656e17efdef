"""What becomes of each kind of new version under one spec, from many rollouts of each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.simulate.faults import Kind
from haldane.simulate.rollout import Course, play_many
from haldane.simulate.traffic import Service

LONGEST = 24 * 3600


@dataclass(frozen=True)
class Forecast:
    """Many rollouts of one kind of version. Times are seconds from its first request on."""

    kind: Kind
    rollouts: int
    promoted: int
    rolled_back: int
    promoted_after: tuple[float, float] | None
    """Median and 95th percentile; None when none was promoted."""
    rolled_back_after: tuple[float, float] | None
    spoilt: float
    """Mean number of requests that the fault spoilt, until well after the end."""


def horizon(md: ModelDeployment) -> int:
    """Seconds to simulate: every hold, its deadline and the watch, at most a day."""
    rollout = md.spec.rollout
    whole = sum((parse_duration(step.hold) for step in rollout.steps), timedelta(0))
    whole += len(rollout.steps) * parse_duration(rollout.progress_deadline)
    whole += parse_duration(rollout.watch_after_promotion) + timedelta(minutes=10)
    return min(LONGEST, int(whole.total_seconds()))


def forecast(
    md: ModelDeployment, service: Service, kind: Kind, rollouts: int, seed: int, scrape: int = 15
) -> tuple[Forecast, Course]:
    """So many rollouts of a kind, and the course of the first."""
    courses = list(play_many(md, service, kind.fault, rollouts, seed, horizon(md), keep=1, scrape=scrape))
    promoted = [course.duration for course in courses if course.outcome == "promoted" and course.duration is not None]
    back = [course.duration for course in courses if course.outcome == "rolled back" and course.duration is not None]
    return (
        Forecast(
            kind,
            rollouts,
            len(promoted),
            sum(course.outcome == "rolled back" for course in courses),
            _middle_and_late(promoted),
            _middle_and_late(back),
            statistics.fmean(course.spoilt for course in courses),
        ),
        courses[0],
    )


def _middle_and_late(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1]
