"""NaN and Infinity in answers, while there is traffic: a candidate that gives them clearly more often than stable goes back.

No check has to ask for it. What is counted are runs of the engine that had such an output. A run may answer several requests
at once, and how many differs between two revisions with different shares of the traffic: of the same rare NaN, larger runs
show more in a run and fewer in a request. So the candidate must be worse by both measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from haldane.plan.observed import Answer, Unavailable
from haldane.plan.proportions import Counts
from haldane.plan.sequential import is_shown_beyond, upper_limit

LEVEL = 0.001
"""Chance, for each of two bounds that hold at every look, that it is wrong about a candidate that is no worse."""
TIMES, POINTS = 2.0, 0.001
"""How much more often than stable: so many times, and so much (a fraction) on top."""
GROUPED = 4.0
"""Such answers come in groups (one feature is missing for a while): so many are worth one."""


def alarm(
    subject: str, baseline: str | None, answers: Mapping[str, Answer], requests: Mapping[str, int]
) -> tuple[str, str] | None:
    """Why the candidate goes back, as a clause, and its share; None when nothing is shown, or nothing known.

    `answers` are those to `nonfinite` and `runs`, by revision; `requests` are the answered ones.
    """
    found, runs = _counts(answers.get("nonfinite")), _counts(answers.get("runs"))
    if baseline is None or not found.get(subject):
        return None
    for whole in (runs, requests):
        mine = _part(found.get(subject, 0.0), whole.get(subject, 0))
        theirs = _part(found.get(baseline, 0.0), whole.get(baseline, 0))
        if mine is None or theirs is None or not theirs.requests:
            return None
        limit = TIMES * upper_limit(theirs.thinned(GROUPED), LEVEL) + POINTS
        if not is_shown_beyond(mine.thinned(GROUPED), limit, LEVEL):
            return None
    share = found[subject] / runs[subject]
    theirs_share = found.get(baseline, 0.0) / runs[baseline]
    text = f"{share:.3g} of its runs gave NaN or Infinity, {theirs_share:.3g} of stable's"
    return text, f"{share:.3g}"


def _part(hits: float, whole: float) -> Counts | None:
    return Counts(hits, whole) if 0 <= hits <= whole and whole > 0 else None


def _counts(answer: Answer | None) -> dict[str, float]:
    if answer is None or isinstance(answer, Unavailable):
        return {}
    counts: dict[str, float] = {}
    for series in answer:
        if math.isfinite(series.value) and series.value >= 0:
            revision = series.labels.get("revision", "")
            counts[revision] = counts.get(revision, 0.0) + series.value
    return counts
