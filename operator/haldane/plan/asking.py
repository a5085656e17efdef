"""What to ask Prometheus, when, and about which time: who is judged, against whom, over how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.rollout import Check, Latency
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import queries as promql
from haldane.plan.evidence import Evidence
from haldane.plan.hindsight import SPAN, comparable
from haldane.plan.looks import hold_ends
from haldane.plan.nobody import NOBODY, PREFIX, is_told_apart, unproven
from haldane.plan.schedule import instant_of, next_look
from haldane.plan.strategy import previews

SHARE_INTERVAL = timedelta(seconds=5)
"""How often to look while a step waits for its share of the traffic."""
BEFORE = "before/"
"""How the names of queries begin that are about stable before the rollout."""
SCRAPED, SCRAPED_BEFORE = "scraped", "scraped/before"
"""Names of the queries for what was counted by the last scrape, and by the last one before this weight."""
_SPAN = int(SPAN.total_seconds())
LONGEST_COUNTED = timedelta(hours=6)
"""Nothing older than this is counted, so that one query never has to read days."""


@dataclass(frozen=True)
class Scope:
    """Who is judged against whom, over how many seconds."""

    subject: str
    baseline: str | None
    recent: int
    """The last window since the weight changed, without warm-up excluded: for the share, `abort` and sudden faults."""
    counted: int
    """All of this weight but its warm-up, which limits are tested on; 0 while warming up."""
    window: int
    """The last window of `counted`, which free queries look at."""
    is_young: bool = False
    """Whether `recent` is all that the candidate was ever asked, but for gates that it answered without an error."""
    past: datetime | None = None
    """Where the `SPAN` ends that the baseline is taken from, when it answers nothing now."""

    @property
    def revisions(self) -> tuple[str, ...]:
        """Everybody who answers now."""
        return (self.subject, self.baseline) if self.baseline and not self.past else (self.subject,)


def scope_of(md: ModelDeployment, now: datetime) -> Scope | None:
    status, rollout, analysis = md.status, md.status.rollout, md.spec.rollout.analysis
    if rollout.weight_changed_at is None or status.stable is None:
        return None
    since = now - rollout.weight_changed_at
    window = parse_duration(analysis.window).total_seconds()
    counted = min(LONGEST_COUNTED, since - parse_duration(analysis.warmup)).total_seconds()
    spans = (max(1, int(min(window, since.total_seconds()))), max(0, int(counted)), max(0, int(min(window, counted))))
    past = comparable(rollout)
    if rollout.phase == "Watching":
        return Scope(
            status.stable.revision,
            status.previous.revision if status.previous and past else None,
            *spans,
            past=past,
        )
    if is_spoilt_told(md):
        return Scope(status.stable.revision, None, spans[0], 0, 0)
    # In a step of weight 0 requests come by a header of their own, or not at all.
    is_previewed = rollout.phase == "Progressing" and previews(md)
    if status.candidate is None or rollout.phase not in ("Progressing", "Promoting"):
        return None
    if rollout.weight == 0 and not is_previewed:
        return None
    if rollout.weight < 100:
        is_young = since.total_seconds() <= window and _is_first_share(md)
        return Scope(status.candidate.revision, status.stable.revision, *spans, is_young)
    return Scope(status.candidate.revision, status.stable.revision if past else None, *spans, past=past)


def _is_first_share(md: ModelDeployment) -> bool:
    """Whether nobody can have asked the candidate anything before this weight, and no gate left errors in its counters.

    Later on a scrape that is missed would make its whole past seem to be of this weight.
    """
    rollout = md.status.rollout
    if rollout.phase != "Progressing" or rollout.lost_at:
        return False
    earlier = md.spec.rollout.steps[: rollout.step or 0]
    if earlier and (previews(md) or any(step.weight for step in earlier)):
        return False
    # A gate that was asked in vain before has told only of its last answers.
    return all(not gate.errors and gate.since == gate.at for gate in rollout.gates)


def is_spoilt_told(md: ModelDeployment) -> bool:
    """Whether what serves is looked at while the old version's pods are awaited: beyond `abort` it is worse than too few."""
    is_awaited = md.status.rollout.phase == "RollingBack" and md.status.previous is not None
    return is_awaited and any(check.error_rate and check.error_rate.abort for check in md.spec.rollout.checks)


def due_at(md: ModelDeployment, now: datetime) -> datetime | None:
    """When the checks are to be evaluated next; None while there is nothing to evaluate."""
    if scope_of(md, now) is None:
        return None
    rollout = md.status.rollout
    interval = parse_duration(md.spec.rollout.analysis.interval)
    if rollout.phase == "Progressing" and rollout.step_started_at is None:
        interval = min(interval, SHARE_INTERVAL)
    last, uid = rollout.checked_at, md.metadata.uid
    if last is None or rollout.weight_changed_at is None or last < rollout.weight_changed_at:
        return next_look(uid, rollout.weight_changed_at or now, min(interval, SHARE_INTERVAL))
    ends, following = hold_ends(md), next_look(uid, last, interval)
    # The step may end on a look at its whole hold, and on no earlier one.
    return ends if ends and last < ends < following else following


def look_due(md: ModelDeployment, now: datetime) -> datetime | None:
    """The instant that a look is to be about which is due by now; None when none is."""
    due = due_at(md, now)
    return instant_of(due, now) if due and due <= now else None


def queries(md: ModelDeployment, now: datetime) -> dict[str, str]:
    """The PromQL to run now, by a key that `judge` knows; empty when no evaluation is due."""
    scope, due = scope_of(md, now), due_at(md, now)
    if scope is None or due is None or now < due:
        return {}
    asked: dict[str, str] = {"recent": promql.requests(md, scope.revisions, scope.recent)}
    if scope.is_young:
        asked[SCRAPED] = promql.scraped(md, scope.revisions)
        asked[SCRAPED_BEFORE] = promql.scraped_before(md, scope.revisions, scope.recent)
    if scope.counted == 0:
        return asked
    asked["requests"] = promql.requests(md, scope.revisions, scope.counted)
    if scope.baseline and not scope.past:
        asked["nonfinite"] = promql.nonfinite(md, scope.revisions, scope.counted)
        asked["runs"] = promql.runs(md, scope.revisions, scope.counted)
    if any(check.latency for check in md.spec.rollout.checks):
        asked["durations"] = promql.durations(md, scope.revisions, scope.counted)
        if scope.counted > scope.window:
            asked["durations/recent"] = promql.durations(md, scope.revisions, scope.window)
    for check in md.spec.rollout.checks:
        asked |= _own(md, check, scope)
    return asked | _before(md, scope)


def _own(md: ModelDeployment, check: Check, scope: Scope) -> dict[str, str]:
    """The queries that the user wrote into a check."""
    asked: dict[str, str] = {}
    if check.query:
        asked[f"query/{check.name}"] = promql.free(md, check.name, check.query.promql, scope.subject, scope.window)
        if check.query.max_increase and scope.baseline:
            asked[f"baseline/{check.name}"] = promql.free(
                md, check.name, check.query.promql, scope.baseline, scope.window
            )
    if check.proportion:
        rise = scope.baseline if check.proportion.max_increase else None
        for role, revision in (("query", scope.subject), ("baseline", rise)):
            for part, query in (("hits", check.proportion.hits), ("total", check.proportion.total)):
                if query and revision:
                    counted = _SPAN if scope.past and role == "baseline" else scope.counted
                    asked[f"{role}/{check.name}/{part}"] = promql.free(md, check.name, query, revision, counted)
    last = next((known for known in md.status.rollout.checks if known.name == check.name), None)
    if not is_told_apart(check, Evidence.from_text(last.evidence) if last else None):
        window = scope.window if check.query else scope.counted
        for part, query in unproven(check).items():
            asked[f"{PREFIX}{check.name}{part}"] = promql.free(md, check.name, query, NOBODY, window)
    return asked


def _before(md: ModelDeployment, scope: Scope) -> dict[str, str]:
    """What stable had, when it answers nothing now and a check compares with it."""
    rules = [
        rule
        for check in md.spec.rollout.checks
        for rule in (check.error_rate, check.latency, check.proportion, check.query)
        if rule and rule.max_increase
    ]
    if not scope.past or not scope.baseline or not rules:
        return {}
    asked: dict[str, str] = {f"{BEFORE}requests": promql.requests(md, (scope.baseline,), _SPAN)}
    if any(isinstance(rule, Latency) for rule in rules):
        asked[f"{BEFORE}durations"] = promql.durations(md, (scope.baseline,), _SPAN)
    return asked


def instant(md: ModelDeployment, name: str, now: datetime) -> datetime:
    """The time that a query of `queries(md, now)` is for."""
    scope = scope_of(md, now)
    return scope.past if scope and scope.past and name.startswith((BEFORE, "baseline/")) else now
