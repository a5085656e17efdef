"""Samples + checks -> Pass, Fail or Inconclusive, each with a sentence.

No data never passes, and an outage of the monitoring alone never fails: both are Inconclusive, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.rollout import Check
from haldane.api.status import CheckStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import nonfinite
from haldane.plan.asking import BEFORE, Scope, scope_of
from haldane.plan.deadlines import deadline, is_overdue
from haldane.plan.evidence import Evidence
from haldane.plan.latency import judge_latency
from haldane.plan.looks import POOR, look_at
from haldane.plan.nobody import doubted
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.samples import MOST, Requests, one_number, read_durations, read_requests
from haldane.plan.schedule import next_look
from haldane.plan.stand_alone import is_alone
from haldane.plan.verdicts import Judged, Trial, judge_abort, judge_error_rate, judge_proportion, judge_query


@dataclass(frozen=True)
class Share:
    """What part of the requests the candidate answered since the weight was last changed."""

    candidate: int
    total: int


@dataclass(frozen=True)
class Analysis:
    """One evaluation of everything, at one instant."""

    at: datetime
    checks: tuple[CheckStatus, ...]
    share: Share | None
    """None when Prometheus could not say, or has no samples since the weight was changed."""
    outage: str | None = None
    """Why Prometheus could not say, as a sentence."""
    alarm: CheckStatus | None = None
    """A Fail that no check has to ask for: the candidate gives NaN where stable gives numbers."""

    def failed(self, md: ModelDeployment) -> CheckStatus | None:
        """The first check that demands a rollback: a limit shown to be crossed, or a query failing too often in a row."""
        limits = {
            check.name: md.spec.rollout.analysis.failure_limit if check.query else 1 for check in md.spec.rollout.checks
        }
        failed = (c for c in self.checks if c.verdict == "Fail" and c.failures >= limits.get(c.name, 1))
        return next(failed, self.alarm)


def judge(md: ModelDeployment, answers: Mapping[str, Answer], now: datetime) -> Analysis | None:
    """Turn the answers to `queries(md, now)` into verdicts. None when none were asked."""
    scope = scope_of(md, now)
    if scope is None or not answers:
        return None
    recent, recent_outage = read_requests(answers.get("recent"))
    counted, counted_outage = read_requests(answers.get("requests"))
    before, before_outage = read_requests(answers.get(f"{BEFORE}requests"))
    outage = recent_outage or counted_outage or before_outage
    if scope.past:
        counted = {**counted, **before}
    share = None
    if recent and not scope.past:
        candidate = recent.get(scope.subject, Requests()).total
        share = Share(candidate, candidate + recent.get(scope.baseline or "", Requests()).total)

    latest = {check.name: check for check in md.status.rollout.checks}
    interval = parse_duration(md.spec.rollout.analysis.interval)
    look = look_at(md, timedelta(seconds=max(1, scope.counted)), now)
    demanded, ends = md.spec.rollout.analysis.detect, deadline(md)
    changed = md.status.rollout.weight_changed_at or now
    detect = float(demanded[:-1]) if demanded else POOR if look.is_last else None
    if is_overdue(md, now):
        detect = None  # at the deadline of the step a poor proof is better than none
    checks = []
    for check in md.spec.rollout.checks:
        last = latest.get(check.name)
        if last and last.verdict == "Fail" and not check.query:
            # What was shown once stays shown: a test that is not acted upon at once must not be given another chance.
            checks.append(last.model_copy(update={"at": now, "failures": last.failures + 1}))
            continue
        trial = Trial(
            look,
            Evidence.from_text(last.evidence) if last else None,
            md.spec.rollout.analysis.min_requests,
            detect,
            scope.past is not None,
            is_alone(md.status.rollout, now),
            scope.counted,
            (ends - now).total_seconds() if ends else None,
        )
        judged = _judge_one(md, check, scope, answers, recent, counted, outage, trial)
        # Also when it finds nothing out: what passed before the end of the hold is no planned look at all of it.
        is_planned = not check.query and look.planned > (trial.before.planned if trial.before else 0)
        is_early = last is not None and last.at > changed and now < next_look(md.metadata.uid, last.at, interval)
        if last and is_early and not judged.aborts and not is_planned:
            # Looked at again only for the share: a verdict is given, and counted, once an interval.
            checks.append(last)
            continue
        failures = last.failures if last else 0
        checks.append(
            CheckStatus(
                name=check.name,
                verdict=judged.verdict,
                value=judged.value,
                baseline=judged.baseline,
                limit=judged.limit,
                requests=judged.requests,
                detectable=judged.detectable,
                failures={"Pass": 0, "Fail": failures + 1, "Inconclusive": failures}[judged.verdict],
                at=now,
                message=judged.message,
                evidence=judged.evidence.to_text() if judged.evidence else last and last.evidence,
            )
        )
    return Analysis(now, tuple(checks), share, outage, None if scope.past else _alarm(scope, answers, counted, now))


def unjudged(md: ModelDeployment, why: str, now: datetime) -> Analysis:
    """What a look comes to when its answers cannot be judged: every check is Inconclusive, with the reason."""
    latest = {check.name: check for check in md.status.rollout.checks}
    checks = []
    for check in md.spec.rollout.checks:
        last = latest.get(check.name) or CheckStatus(name=check.name, verdict="Inconclusive", at=now, message=why)
        is_shown = last.verdict == "Fail" and not check.query
        told = {"at": now} if is_shown else {"at": now, "verdict": "Inconclusive", "message": why}
        checks.append(last.model_copy(update=told))
    return Analysis(now, tuple(checks), None, why)


def _alarm(
    scope: Scope, answers: Mapping[str, Answer], counted: Mapping[str, Requests], now: datetime
) -> CheckStatus | None:
    totals = {revision: requests.total for revision, requests in counted.items()}
    found = nonfinite.alarm(scope.subject, scope.baseline, answers, totals)
    if found is None:
        return None
    return CheckStatus(name="nonfinite", verdict="Fail", value=found[1], failures=1, at=now, message=found[0])


def _judge_one(
    md: ModelDeployment,
    check: Check,
    scope: Scope,
    answers: Mapping[str, Answer],
    recent: Mapping[str, Requests],
    counted: Mapping[str, Requests],
    outage: str | None,
    trial: Trial,
) -> Judged:
    if outage:
        return Judged("Inconclusive", f"Prometheus gave no answer: {outage}")
    subject = counted.get(scope.subject, Requests())
    baseline = counted.get(scope.baseline, Requests()) if scope.baseline else None
    aborted = judge_abort(check.error_rate, recent.get(scope.subject, Requests())) if check.error_rate else None
    if aborted:
        return aborted
    if scope.counted == 0:
        return Judged("Inconclusive", f"warming up: the first {md.spec.rollout.analysis.warmup} of a step do not count")
    is_part = scope.counted > scope.window
    if check.error_rate:
        recently = recent.get(scope.baseline, Requests()) if scope.baseline and not scope.past else None
        lately = (recent.get(scope.subject, Requests()), recently) if is_part else None
        return judge_error_rate(check.error_rate, trial, subject, baseline, lately)
    if check.latency:
        histograms, problem = read_durations(answers.get("durations"))
        earlier, earlier_problem = read_durations(answers.get(f"{BEFORE}durations"))
        if problem or earlier_problem:
            return Judged("Inconclusive", f"Prometheus gave no answer: {problem or earlier_problem}")
        if scope.past:
            histograms = {**histograms, **earlier}
        latest, _ = read_durations(answers.get("durations/recent"))
        base = scope.baseline or ""
        return judge_latency(
            check.latency,
            trial,
            histograms.get(scope.subject),
            histograms.get(base),
            scope.baseline is not None,
            (latest.get(scope.subject), latest.get(base)) if is_part else None,
        )
    if check.proportion:
        own, problem = _counted(answers, f"query/{check.name}", subject)
        theirs = None
        if not problem and baseline is not None and check.proportion.max_increase:
            theirs, problem = _counted(answers, f"baseline/{check.name}", baseline)
            if theirs is None and trial.is_alone:
                theirs, problem = Requests(), ""
        if own is None or problem:
            return Judged("Inconclusive", problem)
        return doubted(check, judge_proportion(check.proportion, trial, own, theirs), answers, None, trial)
    if check.query is None:
        return Judged("Inconclusive", "the check has no limit: write errorRate, latency, proportion or query")
    given = answers.get(f"query/{check.name}", Unavailable("it was not asked"))
    beside = answers.get(f"baseline/{check.name}") if scope.baseline else None
    minimum, in_hindsight = trial.minimum, trial.in_hindsight
    judged = judge_query(check.query, given, beside, subject.total, minimum, in_hindsight, trial.is_alone)
    return doubted(check, judged, answers, beside, trial)


def _counted(answers: Mapping[str, Answer], key: str, served: Requests) -> tuple[Requests | None, str]:
    """What a proportion's queries counted for one revision, or why they cannot be used; `served` when only hits are asked."""
    hits, problem = one_number(answers.get(f"{key}/hits", Unavailable("it was not asked")))
    if hits is None:
        return None, f"the query for hits gave {problem}"
    total: float | None = served.total
    if f"{key}/total" in answers:
        total, problem = one_number(answers[f"{key}/total"])
    if total is None:
        return None, f"the query for total gave {problem}"
    if total > MOST:
        return None, f"the query for total gave {total:.6g}: no revision answers so many requests"
    if hits < 0 or round(hits) > round(total):
        return None, f"the queries gave {hits:.6g} hits of {total:.6g} in total: hits must be a part of total"
    return Requests(round(total), round(hits)), ""
