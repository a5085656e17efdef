"""Reads instant vectors into counts of requests: what is missing, NaN or out of range is left out, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from haldane.plan.histogram import Histogram
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.proportions import Counts

MOST = 1e15
"""No revision answers so many requests: such a count is an error of whoever counted, and no number that status can hold."""


@dataclass(frozen=True)
class Requests:
    """Requests of one revision, and those of them that were answered with a 5xx code."""

    total: int = 0
    errors: int = 0

    @property
    def counts(self) -> Counts:
        """As the tests take them: errors are hits."""
        return Counts(self.errors, self.total)


def read_requests(answer: Answer | None) -> tuple[dict[str, Requests], str | None]:
    """Requests by revision from a vector by (revision, code), or why there is none.

    An error series without a success series still counts: a total failure is data.
    """
    if answer is None:
        return {}, None
    if isinstance(answer, Unavailable):
        return {}, answer.reason
    totals: dict[str, float] = {}
    errors: dict[str, float] = {}
    for series in answer:
        if 0 <= series.value <= MOST:
            revision = series.labels.get("revision", "")
            totals[revision] = totals.get(revision, 0.0) + series.value
            if series.labels.get("code", "").startswith("5"):
                errors[revision] = errors.get(revision, 0.0) + series.value
    # increase() extrapolates to fractions of a request; an error count never exceeds its total.
    return {
        revision: Requests(round(total), min(round(errors.get(revision, 0.0)), round(total)))
        for revision, total in totals.items()
    }, None


def read_durations(answer: Answer | None) -> tuple[Mapping[str, Histogram], str | None]:
    """Histograms by revision from a vector by (revision, le), or why there is none."""
    if answer is None:
        return {}, None
    if isinstance(answer, Unavailable):
        return {}, answer.reason
    buckets: dict[str, dict[float, float]] = {}
    for series in answer:
        try:
            bound = float(series.labels.get("le", ""))
        except ValueError:
            continue
        if 0 <= series.value <= MOST:
            # One bound may be written in two ways, by two versions of Prometheus or of a client: "1" and "1.0".
            found = buckets.setdefault(series.labels.get("revision", ""), {})
            found[bound] = found.get(bound, 0.0) + series.value
    return {revision: Histogram.from_buckets(found) for revision, found in buckets.items()}, None


def one_number(answer: Answer) -> tuple[float | None, str]:
    """The value of an answer that is one finite number, or what it is instead."""
    if isinstance(answer, Unavailable):
        return None, f"no answer: {answer.reason}"
    if not answer:
        return None, "no data: it matched no series"
    if len(answer) > 1:
        return None, f"{len(answer)} series: aggregate them to one, for example with sum()"
    if not math.isfinite(answer[0].value):
        return None, f"{answer[0].value}: it divides by nothing, or has no samples"
    return answer[0].value, ""
