"""One check and the answers to its queries -> its verdict. What it does not need may be missing; what it needs may not.

A limit that is crossed is crossed whatever other query fails, and nothing passes without all that its limits are judged on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from haldane.api.rollout import Check, Latency
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.asking import BEFORE, Scope
from haldane.plan.latency import judge_latency
from haldane.plan.nobody import doubted
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.samples import MOST, Requests, one_number, read_durations
from haldane.plan.verdicts import Judged, Trial, judge_abort, judge_error_rate, judge_proportion, judge_query

GATES = 18
"""Requests of the gates, in all their rounds, that a pod may have counted before it got any of the traffic."""


@dataclass(frozen=True)
class Outages:
    """Why Prometheus could not say how many requests were answered, by the time that they were asked of."""

    recent: str | None
    counted: str | None
    before: str | None


def judge_check(
    md: ModelDeployment,
    check: Check,
    scope: Scope,
    answers: Mapping[str, Answer],
    recent: Mapping[str, Requests],
    counted: Mapping[str, Requests],
    outages: Outages,
    trial: Trial,
) -> Judged:
    """Each limit is judged on what it needs: only the comparison needs the baseline, and `abort` the last window alone."""
    subject = counted.get(scope.subject, Requests())
    baseline = counted.get(scope.baseline, Requests()) if scope.baseline else None
    for lately in (recent.get(scope.subject), trial.gained):
        # The counters alone have counted the gates' requests, too: beside few others they would hide a version that is broken.
        if check.error_rate and lately and (aborted := judge_abort(check.error_rate, lately)):
            return aborted
    if scope.counted == 0:
        early = f"warming up: the first {md.spec.rollout.analysis.warmup} of a step do not count"
        return Judged("Inconclusive", _no_answer(outages.recent) or early)
    is_part = scope.counted > scope.window
    if check.error_rate:
        if outages.counted:
            return Judged("Inconclusive", _no_answer(outages.counted))
        rule = check.error_rate
        not_compared = outages.before if rule.max_increase else None
        if not_compared:
            rule = rule.model_copy(update={"max_increase": None})
        recently = recent.get(scope.baseline, Requests()) if scope.baseline and not scope.past else None
        latest = (recent.get(scope.subject, Requests()), recently) if is_part and not outages.recent else None
        lost = _no_answer(outages.recent or not_compared)
        # Both by their counters: what happened just before the first sample is not to be one side's alone.
        is_counted = trial.gained_beside and scope.counted == scope.recent
        if trial.gained and is_counted and trial.gained.total >= trial.minimum + GATES:
            subject, baseline = trial.gained, trial.gained_beside
        return _but_for(lost, judge_error_rate(rule, _unplanned(trial, lost), subject, baseline, latest))
    if check.latency:
        return _judge_latency(check.latency, scope, answers, trial, is_part, outages.counted)
    if check.proportion:
        judged = _judge_proportion(check, scope, answers, trial, outages, (subject, baseline))
        return doubted(check, judged, answers, None, trial)
    if check.query is None:
        return Judged("Inconclusive", "the check has no limit: write errorRate, latency, proportion or query")
    if outages.counted:
        return Judged("Inconclusive", _no_answer(outages.counted))
    given = answers.get(f"query/{check.name}", Unavailable("it was not asked"))
    beside = answers.get(f"baseline/{check.name}") if scope.baseline else None
    minimum, in_hindsight = trial.minimum, trial.in_hindsight
    judged = judge_query(check.query, given, beside, subject.total, minimum, in_hindsight, trial.is_alone)
    return doubted(check, judged, answers, beside, trial)


def _judge_latency(
    rule: Latency, scope: Scope, answers: Mapping[str, Answer], trial: Trial, is_part: bool, outage: str | None
) -> Judged:
    histograms, problem = read_durations(answers.get("durations"))
    if problem or (outage and scope.subject not in histograms):
        # Nothing at all, while Prometheus could not say who was asked anything, does not mean that nobody was.
        return Judged("Inconclusive", _no_answer(problem or outage))
    earlier, earlier_problem = read_durations(answers.get(f"{BEFORE}durations"))
    latest, latest_problem = read_durations(answers.get("durations/recent"))
    lost = _no_answer(latest_problem or (earlier_problem if rule.max_increase else None))
    if earlier_problem:
        rule = rule.model_copy(update={"max_increase": None})
    if scope.past:
        histograms = {**histograms, **earlier}
    base = scope.baseline or ""
    judged = judge_latency(
        rule,
        _unplanned(trial, lost),
        histograms.get(scope.subject),
        histograms.get(base),
        scope.baseline is not None,
        (latest.get(scope.subject), latest.get(base)) if is_part and not latest_problem else None,
    )
    return _but_for(lost, judged)


def _judge_proportion(
    check: Check,
    scope: Scope,
    answers: Mapping[str, Answer],
    trial: Trial,
    outages: Outages,
    served: tuple[Requests, Requests | None],
) -> Judged:
    rule, (subject, baseline) = check.proportion, served
    own, problem = _counted(answers, f"query/{check.name}", subject, outages.counted)
    if own is None or rule is None:
        return Judged("Inconclusive", problem)
    theirs, lost = None, ""
    if baseline is not None and rule.max_increase:
        outage = outages.before if scope.past else outages.counted
        theirs, lost = _counted(answers, f"baseline/{check.name}", baseline, outage)
        if theirs is None and trial.is_alone:
            theirs, lost = Requests(), ""
    if lost:
        rule = rule.model_copy(update={"max_increase": None})
    return _but_for(lost, judge_proportion(rule, _unplanned(trial, lost), own, theirs))


def _no_answer(reason: str | None) -> str:
    return f"Prometheus gave no answer: {reason}" if reason else ""


def _unplanned(trial: Trial, lost: str) -> Trial:
    """The trial, which takes no planned look while something that it needs is `lost`: that look is taken once."""
    return replace(trial, look=replace(trial.look, planned=0)) if lost else trial


def _but_for(lost: str, judged: Judged) -> Judged:
    """What was found without the answer that is `lost`: a limit that is crossed is crossed without it, and nothing passes."""
    if not lost or judged.verdict == "Fail":
        return judged
    return replace(judged, verdict="Inconclusive", message=lost, limit=None, detectable=None)


def _counted(
    answers: Mapping[str, Answer], key: str, served: Requests, outage: str | None
) -> tuple[Requests | None, str]:
    """What a proportion's queries counted for one revision, or why they cannot be used.

    Where only hits are asked, they are of what it `served`; `outage` is why that is not known.
    """
    hits, problem = one_number(answers.get(f"{key}/hits", Unavailable("it was not asked")))
    if hits is None:
        return None, f"the query for hits gave {problem}"
    total: float | None = served.total
    if f"{key}/total" in answers:
        total, problem = one_number(answers[f"{key}/total"])
    elif outage:
        return None, _no_answer(outage)
    if total is None:
        return None, f"the query for total gave {problem}"
    if total > MOST:
        return None, f"the query for total gave {total:.6g}: no revision answers so many requests"
    if hits < 0 or round(hits) > round(total):
        return None, f"the queries gave {hits:.6g} hits of {total:.6g} in total: hits must be a part of total"
    return Requests(round(total), round(hits)), ""
