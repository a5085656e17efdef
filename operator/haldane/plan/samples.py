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


def gained(scraped: Answer | None, before: Answer | None, subject: str, witness: str) -> Requests | None:
    """What `subject` answered between two scrapes, by its counters alone; None where they do not tell.

    `increase` knows nothing of what came before the first sample that it sees, and needs two: of a pod that Prometheus meets
    late, or scrapes rarely, that is much of what a step begins with. A counter of a pod that was not there before began at 0.
    Where nothing was scraped of the `witness` either, it is Prometheus that was not there, and the counters are of any age.
    """
    if scraped is None or before is None or isinstance(scraped, Unavailable) or isinstance(before, Unavailable):
        return None
    if not any(series.labels.get("revision") == witness for series in before):
        return None
    found: dict[str, float] = {}
    for sign, answer in ((1.0, scraped), (-1.0, before)):
        for series in answer:
            if series.labels.get("revision") == subject:
                code = series.labels.get("code", "")
                found[code] = found.get(code, 0.0) + sign * series.value
    total = sum(found.values())
    if not found or not all(0 <= value <= MOST for value in found.values()):
        return None  # a pod began anew, or is gone
    return Requests(round(total), round(sum(value for code, value in found.items() if code.startswith("5"))))


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
