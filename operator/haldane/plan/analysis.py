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
from haldane.plan import queries as promql
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.samples import Requests, read_durations, read_requests
from haldane.plan.verdicts import Judged, judge_abort, judge_error_rate, judge_latency, judge_query

SHARE_INTERVAL = timedelta(seconds=5)
"""How often to look while a step waits for its share of the traffic."""


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

    def failed(self, md: ModelDeployment) -> CheckStatus | None:
        """The first check that demands a rollback: a limit shown to be crossed, or a query failing too often in a row."""
        limits = {
            check.name: md.spec.rollout.analysis.failure_limit if check.query else 1 for check in md.spec.rollout.checks
        }
        return next((c for c in self.checks if c.verdict == "Fail" and c.failures >= limits.get(c.name, 1)), None)


@dataclass(frozen=True)
class _Scope:
    """Who is judged against whom, over how many seconds."""

    subject: str
    baseline: str | None
    recent: int
    """Window since the weight last changed, without warm-up excluded: for the share and for `abort`."""
    counted: int
    """Window that checks rest on; 0 while warming up."""


def _scope(md: ModelDeployment, now: datetime) -> _Scope | None:
    status, rollout, analysis = md.status, md.status.rollout, md.spec.rollout.analysis
    if rollout.weight_changed_at is None or status.stable is None:
        return None
    since = (now - rollout.weight_changed_at).total_seconds()
    window = parse_duration(analysis.window).total_seconds()
    counted = max(0, int(min(window, since - parse_duration(analysis.warmup).total_seconds())))
    recent = max(1, int(min(window, since)))
    if rollout.phase == "Watching":
        return _Scope(status.stable.revision, None, recent, counted)
    if status.candidate is None or rollout.weight == 0 or rollout.phase not in ("Progressing", "Promoting"):
        return None
    # At 100 the stable revision answers nothing that could be compared.
    baseline = status.stable.revision if rollout.weight < 100 else None
    return _Scope(status.candidate.revision, baseline, recent, counted)


def due_at(md: ModelDeployment, now: datetime) -> datetime | None:
    """When the checks are to be evaluated next; None while there is nothing to evaluate."""
    if _scope(md, now) is None:
        return None
    rollout = md.status.rollout
    interval = parse_duration(md.spec.rollout.analysis.interval)
    if rollout.phase == "Progressing" and rollout.step_started_at is None:
        interval = min(interval, SHARE_INTERVAL)
    last = rollout.checked_at
    if last is None or rollout.weight_changed_at is None or last < rollout.weight_changed_at:
        return (rollout.weight_changed_at or now) + min(interval, SHARE_INTERVAL)
    return last + interval


def queries(md: ModelDeployment, now: datetime) -> dict[str, str]:
    """The PromQL to run now, by a key that `judge` knows; empty when no evaluation is due."""
    scope, due = _scope(md, now), due_at(md, now)
    if scope is None or due is None or now < due:
        return {}
    revisions = tuple(r for r in (scope.subject, scope.baseline) if r)
    asked = {"recent": promql.requests(md, revisions, scope.recent)}
    if scope.counted > 0:
        asked["requests"] = promql.requests(md, revisions, scope.counted)
        if any(check.latency for check in md.spec.rollout.checks):
            asked["durations"] = promql.durations(md, revisions, scope.counted)
        for check in md.spec.rollout.checks:
            if check.query:
                asked[f"query/{check.name}"] = promql.free(md, check.query.promql, scope.subject, scope.counted)
                if check.query.max_increase and scope.baseline:
                    asked[f"baseline/{check.name}"] = promql.free(md, check.query.promql, scope.baseline, scope.counted)
    return asked


def judge(md: ModelDeployment, answers: Mapping[str, Answer], now: datetime) -> Analysis | None:
    """Turn the answers to `queries(md, now)` into verdicts. None when none were asked."""
    scope = _scope(md, now)
    if scope is None or not answers:
        return None
    recent, recent_outage = read_requests(answers.get("recent"))
    counted, counted_outage = read_requests(answers.get("requests"))
    outage = recent_outage or counted_outage
    share = None
    if recent:
        candidate = recent.get(scope.subject, Requests()).total
        share = Share(candidate, candidate + recent.get(scope.baseline or "", Requests()).total)

    before = {check.name: check for check in md.status.rollout.checks}
    fresh = now - parse_duration(md.spec.rollout.analysis.interval)
    checks = []
    for check in md.spec.rollout.checks:
        judged = _judge_one(md, check, scope, answers, recent, counted, outage)
        last = before.get(check.name)
        if last and last.at > fresh and not judged.aborts:
            # Looked at again only for the share: a verdict is given, and counted, once an interval.
            checks.append(last)
            continue
        failures = before[check.name].failures if check.name in before else 0
        checks.append(
            CheckStatus(
                name=check.name,
                verdict=judged.verdict,
                value=judged.value,
                baseline=judged.baseline,
                limit=judged.limit,
                requests=judged.requests,
                failures={"Pass": 0, "Fail": failures + 1, "Inconclusive": failures}[judged.verdict],
                at=now,
                message=judged.message,
            )
        )
    return Analysis(now, tuple(checks), share, outage)


def _judge_one(
    md: ModelDeployment,
    check: Check,
    scope: _Scope,
    answers: Mapping[str, Answer],
    recent: Mapping[str, Requests],
    counted: Mapping[str, Requests],
    outage: str | None,
) -> Judged:
    if outage:
        return Judged("Inconclusive", f"Prometheus gave no answer: {outage}")
    minimum = md.spec.rollout.analysis.min_requests
    subject = counted.get(scope.subject, Requests())
    baseline = counted.get(scope.baseline, Requests()) if scope.baseline else None
    aborted = judge_abort(check.error_rate, recent.get(scope.subject, Requests())) if check.error_rate else None
    if aborted:
        return aborted
    if scope.counted == 0:
        return Judged("Inconclusive", f"warming up: the first {md.spec.rollout.analysis.warmup} of a step do not count")
    if check.error_rate:
        return judge_error_rate(check.error_rate, subject, baseline, minimum)
    if check.latency:
        histograms, problem = read_durations(answers.get("durations"))
        if problem:
            return Judged("Inconclusive", f"Prometheus gave no answer: {problem}")
        return judge_latency(
            check.latency,
            histograms.get(scope.subject),
            histograms.get(scope.baseline) if scope.baseline else None,
            baseline is not None,
            minimum,
        )
    if check.query is None:
        return Judged("Inconclusive", "the check has no limit: write errorRate, latency or query")
    return judge_query(
        check.query,
        answers.get(f"query/{check.name}", Unavailable("it was not asked")),
        answers.get(f"baseline/{check.name}") if scope.baseline else None,
        subject.total,
        minimum,
    )
