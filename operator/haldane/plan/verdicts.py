"""One check against its limits: the rules, each as a pure function of counts.

A limit on a rate or a quantile is a claim about the true value, so it fails only when the data show it to be crossed
(`shares`); a free query has no counts to test, so it is compared, and fails for good after several without a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from haldane.api.quantity import parse_percent
from haldane.api.rollout import ErrorRate, Proportion, Query
from haldane.api.status import Verdict
from haldane.plan import dispersion
from haldane.plan.evidence import Evidence
from haldane.plan.hindsight import SLACK, with_slack
from haldane.plan.looks import STRONG_SUSPICION, Look
from haldane.plan.observed import Answer
from haldane.plan.proportions import beyond
from haldane.plan.samples import Requests, one_number
from haldane.plan.shares import Question
from haldane.plan.stand_alone import NOT_COMPARED


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on, as text for status."""

    verdict: Verdict
    message: str
    value: str | None = None
    baseline: str | None = None
    limit: str | None = None
    requests: int | None = None
    aborts: bool = False
    """Whether it is the hard limit that was crossed."""
    detectable: str | None = None
    evidence: Evidence | None = None
    """What the next look must know; None when this one learnt nothing."""


def percent(fraction: float) -> str:
    """A fraction as a short percentage: 0.0123 -> `1.23%`."""
    return f"{fraction * 100:.3g}%"


def seconds(value: float) -> str:
    """A duration in seconds as people read it: 0.0123 -> `12.3ms`."""
    return f"{value * 1000:.3g}ms" if value < 1 else f"{value:.3g}s"


def too_few(requests: int, minimum: int) -> Judged:
    """The verdict below `minRequests`."""
    if requests == 0:
        return Judged("Inconclusive", f"no requests reached the candidate; {minimum} are needed", requests=0)
    return Judged("Inconclusive", f"{requests} requests so far; {minimum} are needed", requests=requests)


def judge_abort(check: ErrorRate, recent: Requests) -> Judged | None:
    """The hard limit: a Fail on the requests of this weight, warm-up and all, however few they are; None otherwise."""
    if not check.abort or not beyond(recent.errors, recent.total, parse_percent(check.abort)):
        return None
    value = percent(recent.errors / recent.total)
    message = f"error rate {value} of {recent.total} requests is beyond the abort limit {check.abort}"
    return Judged("Fail", message, value, limit=check.abort, requests=recent.total, aborts=True)


@dataclass(frozen=True)
class Told:
    """How the values of a check are told."""

    what: str
    """What is limited, for example `error rate`."""
    value: str
    baseline: str | None
    requests: int

    def judged(self, verdict: Verdict, message: str, limit: str | None, **more: Any) -> Judged:
        """A verdict on these values."""
        return Judged(verdict, message, self.value, self.baseline, limit, self.requests, **more)


@dataclass(frozen=True)
class Trial:
    """What all checks of one look have in common: when it is taken, what was learnt before, and how much is enough."""

    look: Look
    before: Evidence | None
    minimum: int
    detect: float | None = None
    """How many times the limit a pass must have been able to see; None when that is not asked for (any more)."""
    in_hindsight: bool = False
    """Whether the baseline is of the time before the rollout, because stable answers nothing now."""
    is_alone: bool = False
    """Whether stable has had no ready pod for so long that what cannot be compared is judged without it."""
    counted: float = 0.0
    """Seconds in which the counts came."""
    may_wait: bool = False
    """Whether the step's deadline is ahead: until then the last step passes an absolute limit by proof alone."""
    left: float | None = None
    """Seconds until the step's deadline; None where there is none."""
    gained: Requests | None = None
    """What the candidate answered at this weight by its counters alone; None where they do not tell, or tell less."""
    gained_beside: Requests | None = None
    """What stable answered between the same two scrapes, likewise."""


def judge_error_rate(
    check: ErrorRate,
    trial: Trial,
    counted: Requests,
    baseline: Requests | None,
    recent: tuple[Requests, Requests | None] | None = None,
) -> Judged:
    """Judge the share of 5xx answers. `baseline` is stable's, None when stable gets no traffic to compare with.

    `counted` is of the whole step without its warm-up; `recent` is of the last window, when that is shorter.
    """
    return _judge_share("error rate", check.max, check.max_increase, check.abort, trial, counted, baseline, recent)


def judge_proportion(check: Proportion, trial: Trial, counted: Requests, baseline: Requests | None) -> Judged:
    """Judge a share that the user counts: `errors` are the hits of his queries."""
    kind = kind_of(check)
    return _judge_share("share", check.max, check.max_increase, None, trial, counted, baseline, None, kind)


def kind_of(check: Proportion) -> int:
    """`Evidence.kind` of what its queries count."""
    return crc32(f"{check.hits}\n{check.total}".encode())


def _judge_share(
    what: str,
    highest: str | None,
    rise: str | None,
    abort: str | None,
    trial: Trial,
    counted: Requests,
    baseline: Requests | None,
    recent: tuple[Requests, Requests | None] | None,
    kind: int = 0,
) -> Judged:
    if counted.total < trial.minimum:
        return too_few(counted.total, trial.minimum)
    base = percent(baseline.errors / baseline.total) if baseline and baseline.total else None
    told = Told(what, percent(counted.errors / counted.total), base, counted.total)
    beside = baseline if baseline and not trial.in_hindsight else None
    theirs = beside.errors if beside else None
    evidence = dispersion.seen(trial.before, counted.total, counted.errors, theirs, kind=kind)
    questions = []
    if highest:
        question = Question(f"the limit {highest}", highest, parse_percent(highest), counted.counts)
        earlier = dispersion.with_earlier(question.candidate, evidence)
        question = replace(question, dispersion=dispersion.alone(evidence), with_earlier=earlier)
        questions.append(replace(question, recent_candidate=recent[0].counts) if recent else question)
    if rise and baseline is not None and baseline.total < trial.minimum:
        return cannot_compare(answer(told, trial, evidence, questions, percent, abort), baseline.total, trial)
    if rise and baseline is not None:
        past, allowed = baseline.counts, parse_percent(rise)
        if trial.in_hindsight:
            past, times = with_slack(past), f"{SLACK:g}x"
            text, short = (
                f"{SLACK:g} times stable's {base} before the rollout by more than {rise}",
                f"{times}{base}+{rise}",
            )
        else:
            text, short = f"stable's {base} by more than {rise}", f"{base}+{rise}"
        question = Question(text, short, allowed, counted.counts, past)
        vary = dispersion.beside_baseline if beside else dispersion.alone
        question = replace(question, dispersion=vary(evidence))
        if recent and (recent[1] or trial.in_hindsight):
            lately = past if trial.in_hindsight or recent[1] is None else recent[1].counts
            question = replace(question, recent_candidate=recent[0].counts, recent_baseline=lately)
        questions.append(question)
    return answer(told, trial, evidence, questions, percent, abort)


def answer(
    told: Told,
    trial: Trial,
    evidence: Evidence,
    questions: list[Question],
    shown_as: Callable[[float], str],
    otherwise: str | None = None,
) -> Judged:
    """Fail when any of the questions is answered by yes; at the end of the hold, Pass only when none may well be."""
    planned_part = trial.look.planned_part(evidence.planned)
    evidence = replace(evidence, planned=max(evidence.planned, trial.look.planned))
    seen = f"{told.what} {told.value} of {told.requests} requests"
    for question in questions:
        persistent = dispersion.winsorized(question.candidate, evidence)
        if replace(question, winsorized=persistent).is_shown(trial.look, planned_part):
            return told.judged("Fail", f"{seen} is beyond {question.text}", question.short, evidence=evidence)
    if not questions:
        message = f"{seen} is not shown to be beyond {otherwise or 'its limit'}"
        return told.judged("Pass", message, otherwise, evidence=evidence)
    smallest = {question.short: question.detectable(trial.look) for question in questions}
    tightest = min(smallest, key=lambda short: smallest[short])
    detectable = shown_as(smallest[tightest])
    for question in questions:
        enough = STRONG_SUSPICION if not trial.may_wait and question.is_surely_clear(trial.look) else 1.0
        if question.is_suspicious(trial.look, enough):
            message = f"{seen} may be beyond {question.text}: more requests will tell"
            return told.judged("Inconclusive", message, question.short, evidence=evidence, detectable=detectable)
        if question.is_suspicious_with_earlier(trial.look, enough):
            message = f"{seen}, with the steps before, may be beyond {question.text}: more requests will tell"
            return told.judged("Inconclusive", message, question.short, evidence=evidence, detectable=detectable)
        if trial.may_wait and question.is_clear(trial.look) is False:
            message = f"{seen} is not shown to be clear of {question.text}; more requests will tell"
            return told.judged("Inconclusive", message, question.short, evidence=evidence, detectable=detectable)
    if (
        trial.look.planned
        and trial.detect
        and not all(question.would_see(trial.detect, trial.look) for question in questions)
    ):
        until = _until_seen(questions, trial, trial.detect)
        message = f"{seen} is not shown to be beyond {tightest}, but below {detectable} little would have been: {until}"
        return told.judged("Inconclusive", message, tightest, evidence=evidence, detectable=detectable)
    message = f"{seen} is not shown to be beyond {tightest}; {detectable} would have been, 4 times in 5"
    return told.judged("Pass", message, tightest, evidence=evidence, detectable=detectable)


def _until_seen(questions: list[Question], trial: Trial, times: float) -> str:
    """How long it takes until enough requests have come to see so many times the limit, as fast as they came so far."""
    factors = [question.longer_to_see(times, trial.look) for question in questions]
    known = [factor for factor in factors if factor is not None]
    seconds_more = trial.counted * (max(known, default=1.0) - 1.0)
    is_too_late = len(known) < len(factors) or (trial.left is not None and seconds_more > trial.left)
    if not is_too_late:
        return f"more requests will tell, in about {math.ceil(seconds_more / 60)} min as they come"
    how_long = f"about {math.ceil(seconds_more / 60)} min more" if len(known) == len(factors) else "far longer"
    ends = f" in {max(0, math.ceil(trial.left / 60))} min" if trial.left is not None else ""
    return (
        f"as requests come, {times:g} times the limit takes {how_long} to be seen, and the step's deadline{ends} ends the wait:"
        " raise its weight or its hold, or demand less by analysis.detect"
    )


def cannot_compare(otherwise: Judged, seen: int, trial: Trial) -> Judged:
    """No verdict beside a stable revision with few requests, unless an absolute limit is crossed anyway, or stable is gone."""
    if otherwise.verdict == "Fail":
        return otherwise
    if trial.is_alone:
        return replace(otherwise, message=f"{otherwise.message}; {NOT_COMPARED}")
    when = "in the hour before the rollout" if trial.in_hindsight else "in the same time"
    message = f"stable answered {seen} requests {when}; {trial.minimum} are needed to compare"
    return replace(otherwise, verdict="Inconclusive", message=message, limit=None, detectable=None)


def judge_query(
    check: Query,
    answer: Answer,
    baseline: Answer | None,
    requests: int,
    minimum: int,
    in_hindsight: bool = False,
    is_alone: bool = False,
) -> Judged:
    """Judge a free query: one number against plain limits. `baseline` is the same query for stable."""
    value, problem = one_number(answer)
    if value is None:
        return Judged("Inconclusive", f"the query gave {problem}", requests=requests)
    if requests < minimum:
        few = too_few(requests, minimum)
        return Judged("Inconclusive", few.message, f"{value:.6g}", requests=requests)
    highest = [float(check.max)] if check.max else []
    base, aside = None, ""
    if check.max_increase and baseline is not None:
        base, problem = one_number(baseline)
        if base is None and not is_alone:
            absolute = check.model_copy(update={"max_increase": None})
            alone = judge_query(absolute, answer, None, requests, minimum)
            if alone.verdict == "Fail":
                return alone
            return Judged("Inconclusive", f"the query for stable gave {problem}", f"{value:.6g}", requests=requests)
        aside = f"; {NOT_COMPARED}" if base is None else ""
    if check.max_increase and base is not None:
        slack = SLACK - 1.0 if in_hindsight else 0.0
        highest.append(base + abs(base) * (slack + parse_percent(check.max_increase)))
    shown_base = f"{base:.6g}" if base is not None else None
    if highest and value > min(highest):
        limit = f"{min(highest):.6g}"
        return Judged("Fail", f"{value:.6g} is above the limit {limit}", f"{value:.6g}", shown_base, limit, requests)
    if check.min and value < float(check.min):
        return Judged(
            "Fail", f"{value:.6g} is below the limit {check.min}", f"{value:.6g}", shown_base, check.min, requests
        )
    shown_limit = f"{min(highest):.6g}" if highest else check.min
    within = f"is within the limit {shown_limit}" if shown_limit else "has no limit now"
    return Judged("Pass", f"{value:.6g} {within}{aside}", f"{value:.6g}", shown_base, shown_limit, requests)
