"""Samples + checks -> Pass, Fail or Inconclusive, each with a sentence.

No data never passes, and an outage of the monitoring alone never fails: both are Inconclusive, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.status import CheckStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import nonfinite
from haldane.plan.asking import BEFORE, SCRAPED, SCRAPED_BEFORE, Scope, is_spoilt_told, scope_of
from haldane.plan.deadlines import deadline, is_overdue
from haldane.plan.evidence import carried, marked
from haldane.plan.judging import Outages, judge_check
from haldane.plan.looks import POOR, look_at
from haldane.plan.observed import Answer
from haldane.plan.samples import Requests, gained, read_requests
from haldane.plan.schedule import next_look
from haldane.plan.stand_alone import is_alone
from haldane.plan.verdicts import Trial, judge_abort


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
    is_sparse: bool = False
    """Whether it has samples of the pods, but too few of them in one window to tell a rate."""
    alarm: CheckStatus | None = None
    """A Fail beside the checks: the candidate gives NaN where stable gives numbers, or, on the way back, is beyond `abort`."""

    def failed(self, md: ModelDeployment) -> CheckStatus | None:
        """The first check that demands a rollback: a limit shown to be crossed, or a query failing too often without a pass."""
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
    if is_spoilt_told(md):
        spoilt = _beyond_abort(md, recent.get(scope.subject, Requests()), now)
        return Analysis(now, tuple(md.status.rollout.checks), None, recent_outage, alarm=spoilt)
    counted, counted_outage = read_requests(answers.get("requests"))
    before, before_outage = read_requests(answers.get(f"{BEFORE}requests"))
    outages = Outages(recent_outage, counted_outage, before_outage)
    outage = recent_outage or counted_outage or before_outage
    is_sparse = bool(counted) and not recent and not recent_outage
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
    overdue = is_overdue(md, now)
    if overdue:
        detect = None  # at the deadline of the step a poor proof is better than none
    by_counters = _gained(answers, scope, recent)
    checks = []
    for check in md.spec.rollout.checks:
        last, known = carried(latest.get(check.name), check)
        if last and last.verdict == "Fail" and not check.query:
            # What was shown once stays shown: a test that is not acted upon at once must not be given another chance.
            checks.append(last.model_copy(update={"at": now, "failures": last.failures + 1}))
            continue
        trial = Trial(
            look,
            known,
            md.spec.rollout.analysis.min_requests,
            detect,
            scope.past is not None,
            is_alone(md.status.rollout, now),
            scope.counted,
            not overdue,
            (ends - now).total_seconds() if ends else None,
            *by_counters,
        )
        judged = judge_check(md, check, scope, answers, recent, counted, outages, trial)
        # Also when it finds nothing out: what passed before the end of the hold is no planned look at all of it.
        is_planned = not check.query and look.planned > (known.planned if known else 0)
        is_early = last is not None and last.at > changed and now < next_look(md.metadata.uid, last.at, interval)
        if last and is_early and not judged.aborts and not is_planned:
            # Looked at again only for the share: a verdict is given, and counted, once an interval.
            checks.append(last)
            continue
        # An outage between two failures is no pass between them: it does not end the count.
        failures, kept = last.failures if last else 0, judged.evidence or known
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
                evidence=marked(kept.to_text() if kept else None, check),
            )
        )
    alarm = None if scope.past else _alarm(scope, answers, counted, now)
    return Analysis(now, tuple(checks), share, outage, is_sparse, alarm)


def _gained(
    answers: Mapping[str, Answer], scope: Scope, recent: Mapping[str, Requests]
) -> tuple[Requests | None, Requests | None]:
    """What the counters of candidate and stable tell of this weight, if they missed no restart: `increase` then tells of many more."""
    if not scope.is_young or not scope.baseline:
        return None, None
    own, theirs = (
        gained(answers.get(SCRAPED), answers.get(SCRAPED_BEFORE), revision, scope.baseline)
        for revision in (scope.subject, scope.baseline)
    )
    is_whole = own is not None and 2 * own.total >= recent.get(scope.subject, Requests()).total
    return (own, theirs) if is_whole else (None, None)


def _beyond_abort(md: ModelDeployment, recent: Requests, now: datetime) -> CheckStatus | None:
    for check in md.spec.rollout.checks:
        if check.error_rate and (judged := judge_abort(check.error_rate, recent)):
            return CheckStatus(name=check.name, verdict="Fail", failures=1, at=now, message=judged.message)
    return None


def unjudged(md: ModelDeployment, why: str, now: datetime) -> Analysis:
    """What a look comes to when its answers cannot be judged: every check is Inconclusive, with the reason."""
    latest = {check.name: check for check in md.status.rollout.checks}
    checks = []
    for check in md.spec.rollout.checks:
        last, known = carried(latest.get(check.name), check)
        if last is None:
            line = marked(known.to_text() if known else None, check)
            last = CheckStatus(name=check.name, verdict="Inconclusive", at=now, message=why, evidence=line)
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
