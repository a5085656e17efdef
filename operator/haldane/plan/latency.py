"""A quantile of the request duration against its limits, by counting the requests that took longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from haldane.api.quantity import parse_duration, parse_percent
from haldane.api.rollout import Latency
from haldane.plan import dispersion
from haldane.plan.hindsight import SLACK
from haldane.plan.histogram import Histogram
from haldane.plan.proportions import Counts
from haldane.plan.shares import Question
from haldane.plan.verdicts import Judged, Told, Trial, answer, cannot_compare, seconds, too_few


def judge_latency(
    check: Latency,
    trial: Trial,
    subject: Histogram | None,
    baseline: Histogram | None,
    compare: bool,
    recent: tuple[Histogram | None, Histogram | None] | None = None,
) -> Judged:
    """Judge a quantile: it is beyond a limit when more than 1 - q of the requests are shown to take longer than it.

    Stable's own quantile is known only as well as its requests tell: that 1 - q of them took longer is a count, too.
    """
    total = round(subject.total) if subject else 0
    if subject is None or total < trial.minimum:
        return too_few(total, trial.minimum)
    q = float(check.quantile)
    value = subject.quantile(q)
    compares = bool(check.max_increase) and compare
    base = baseline.quantile(q) if baseline and compares else None
    told = Told(f"p{q * 100:g}", seconds(value), seconds(base) if base is not None else None, total)
    if compares and (baseline is None or baseline.total < trial.minimum):
        alone = judge_latency(check.model_copy(update={"max_increase": None}), trial, subject, None, False, recent)
        return cannot_compare(alone, round(baseline.total) if baseline else 0, trial)
    limits: dict[str, float] = {}
    if check.max:
        limits[check.max] = parse_duration(check.max).total_seconds()
    slack = SLACK if trial.in_hindsight else 1.0
    risen = f"{f'{SLACK:g}x' if trial.in_hindsight else ''}{told.baseline}+{check.max_increase}"
    if base is not None and check.max_increase:
        limits[risen] = base * (slack + parse_percent(check.max_increase))
    if not limits:
        return told.judged("Pass", f"p{q * 100:g} {told.value} of {total} requests has no limit now", None)
    tightest = min(limits.values())
    bound = subject.bound_above(tightest)
    evidence = dispersion.seen(
        trial.before,
        total,
        round(subject.above(bound)),
        round(baseline.above(bound)) if baseline and compares and not trial.in_hindsight else None,
        bound,
    )
    questions = []
    for short, limit in sorted(limits.items(), key=lambda item: item[1]):
        question = Question(
            f"the limit {short}: {round(subject.above(limit, 1 - q))} took longer",
            short,
            1 - q,
            _slow(subject, limit, 1 - q),
        )
        if recent and recent[0]:
            question = replace(question, recent_candidate=_slow(recent[0], limit, 1 - q))
        if short == risen and baseline is not None:
            # More slow requests than stable has beyond its own quantile: no allowance is left to give.
            question = replace(question, limit=0.0, baseline=Counts((1 - q) * baseline.total, baseline.total))
            vary = dispersion.alone if trial.in_hindsight else dispersion.beside_baseline
            question = replace(question, dispersion=vary(evidence))
            lately = baseline if trial.in_hindsight else recent[1] if recent else None
            if question.recent_candidate and lately:
                question = replace(question, recent_baseline=Counts((1 - q) * lately.total, lately.total))
            elif question.recent_candidate:
                question = replace(question, recent_candidate=None)
        else:
            question = replace(question, dispersion=dispersion.alone(evidence))
            if bound >= limit:  # what was counted before may be too few, but not too many
                question = replace(question, with_earlier=dispersion.with_earlier(question.candidate, evidence))
        questions.append(question)

    def as_duration(share: float) -> str:
        # As much slower as the candidate would have to be for that share of its requests to be beyond the limit.
        there = subject.quantile(1.0 - share) if share < 1.0 else 0.0
        return seconds(value * tightest / there) if there > 0.0 else "no latency"

    def decided(asked: list[Question]) -> Judged:
        return answer(told, trial, evidence, asked, as_duration)

    beyond = [question for question in questions if limits[question.short] > subject.highest]
    return _decided(decided, subject, told, questions, beyond)


def _decided(
    by: Callable[[list[Question]], Judged],
    subject: Histogram,
    told: Told,
    questions: list[Question],
    beyond: list[Question],
) -> Judged:
    """The verdict, which no limit `beyond` the last bound makes a Fail: who took longer than the one may not than the other."""
    judged = by(questions)
    if judged.verdict != "Fail" or not beyond:
        return judged
    judged = by([question for question in questions if question not in beyond])
    if judged.verdict == "Fail":
        return judged
    longest, slow = seconds(subject.highest), round(subject.above(subject.highest))
    message = (
        f"{told.what} {told.value} of {told.requests} requests is not shown to be within {beyond[0].short}: {slow} took longer than"
        f" {longest}, and no bound of the histogram tells how much longer; write a max of at most {longest}"
    )
    return told.judged("Inconclusive", message, beyond[0].short, evidence=judged.evidence)


def _slow(histogram: Histogram, limit: float, tail: float) -> Counts:
    return Counts(histogram.above(limit, tail), histogram.total)
