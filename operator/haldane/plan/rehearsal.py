"""Will the checks of a spec ever be decided? Found out as soon as it is applied, by asking about stable what a rollout will ask.

A query that does not parse, gives many series or takes too long is known before any version depends on it; so is a step to
which too few requests come. What cannot be known without a candidate is judged when there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.rollout import Check
from haldane.api.status import Condition, ModelDeploymentStatus, RevisionStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import queries as promql
from haldane.plan.conditions import UNDECIDABLE, Claim, paragraph
from haldane.plan.decidable import demands, hopeless_steps, never_reached, unknown_metrics
from haldane.plan.nobody import NOBODY, made_up, unproven
from haldane.plan.observed import Answer, Event, Unavailable
from haldane.plan.samples import one_number, read_requests

SPAN = timedelta(minutes=15)
"""How much of the requests tells their rate: as long as that stable must have served."""
REQUESTS, LATELY, NOBODYS = "requests", "lately", "/nobody"
OWN = frozenset({REQUESTS, LATELY})
"""What is asked for no check of a user's: the requests of `SPAN`, and those of one window."""


def certain(md: ModelDeployment) -> list[str]:
    """What is wrong by the text of the spec alone, as clauses."""
    names = [check.name for check in md.spec.rollout.checks]
    return [text for name in names for text in (*unknown_metrics(md, name), *never_reached(md, name))]


def doubtful(md: ModelDeployment, found: Sequence[str] | None) -> Claim | None:
    """The warning that some checks of the spec cannot be decided; None when nothing speaks against them.

    While nobody has found anything out (None), what was told of the same spec before still stands.
    """
    before = next((c for c in md.status.conditions if c.type == UNDECIDABLE), None)
    if found is None and before and before.observed_generation == md.metadata.generation:
        return Claim(UNDECIDABLE, True, before.reason, before.message)
    message = paragraph(*certain(md), *(found or ()))
    return Claim(UNDECIDABLE, True, "ChecksInDoubt", message) if message else None


def doubt_events(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> tuple[Event, ...]:
    """A Warning when doubts come up about a spec; not again for each figure that changes in them."""
    old, new = (next((c for c in s.conditions if c.type == UNDECIDABLE), None) for s in (before, after))
    if new is None or (old and old.observed_generation == new.observed_generation and _words(old) == _words(new)):
        return ()
    return (Event("Warning", new.reason, new.message),)


def _words(condition: Condition) -> str:
    return re.sub(r"[0-9.]+", "", condition.message)


def subject(md: ModelDeployment) -> str | None:
    """The revision to ask about; None while it has no pods that could tell anything, or is about to lose its place."""
    stable, is_moving = md.status.stable, md.status.rollout.phase in ("Initializing", "RollingBack")
    return stable.revision if stable and stable.ready_replicas and not is_moving and md.spec.rollout.checks else None


def _answering(md: ModelDeployment) -> tuple[str, ...]:
    """The revisions that answer the requests now, or have in the last `SPAN`: in a rollout they share them."""
    status = md.status
    return tuple(part.revision for part in (status.stable, status.candidate, status.previous) if part)


def questions(md: ModelDeployment) -> dict[str, str]:
    """The PromQL to ask once for a spec, by a key that `findings` knows; those of users begin with `query/`."""
    revision = subject(md)
    if revision is None:
        return {}
    window = int(parse_duration(md.spec.rollout.analysis.window).total_seconds())
    asked: dict[str, str] = {REQUESTS: promql.requests(md, _answering(md), int(SPAN.total_seconds()))}
    asked[LATELY] = promql.requests(md, (revision,), window)
    for check in md.spec.rollout.checks:
        for part, query in _own(check).items():
            key = f"query/{check.name}{part}"
            asked[key] = promql.free(md, check.name, query, revision, window)
        for part, query in unproven(check).items():
            asked[f"query/{check.name}{part}{NOBODYS}"] = promql.free(md, check.name, query, NOBODY, window)
    return asked


def findings(md: ModelDeployment, answers: Mapping[str, Answer], now: datetime) -> tuple[str, ...] | None:
    """What a person should correct, as clauses; None when Prometheus itself cannot say anything, or not yet."""
    revision = subject(md)
    requests, outage = read_requests(answers.get(REQUESTS))
    if outage or revision is None:
        return None
    found, is_early = [], False
    lately, not_lately = read_requests(answers.get(LATELY))
    has_none = LATELY in answers and not lately and not not_lately
    if has_none and is_new(md, now):
        is_early = True
    elif has_none and requests:
        window = md.spec.rollout.analysis.window
        found.append(
            f"spec.rollout.analysis.window: in {window} Prometheus has fewer than two samples of each pod, though it has more in"
            f" {SPAN // timedelta(minutes=1)} min, so that no share and no sudden fault can be seen: raise it to several times the"
            " scrape interval"
        )
    served = sum(counts.total for counts in requests.values())
    if served and _has_served(md, (md.status.previous or md.status.stable), now):
        rate, failing = served / SPAN.total_seconds(), sum(counts.errors for counts in requests.values())
        found += hopeless_steps(md, rate) or demands(md, rate, failing / served, too_late_only=True)
    for check in md.spec.rollout.checks:
        for part in _own(check):
            key = f"query/{check.name}{part}"
            nobodys = answers.get(key + NOBODYS)
            wrong = _wrong(answers.get(key)) or (nobodys is not None and made_up(check, nobodys, answers.get(key)))
            if wrong:
                found.append(f"check {check.name}: the query{_named(part)} gave {wrong}")
    return None if is_early and not found else tuple(found)


def is_new(md: ModelDeployment, now: datetime) -> bool:
    """Whether stable took over, or came back, so lately that few samples of its pods say nothing: others answered before."""
    rollout = md.status.rollout
    if rollout.phase == "Promoting":
        return md.status.candidate is None
    begun = rollout.phase_started_at
    return rollout.phase in ("Watching", "Stable") and begun is not None and now - begun < SPAN


def _own(check: Check) -> dict[str, str]:
    """The queries that the user wrote into a check, by the end of their key."""
    if check.query:
        return {"": check.query.promql}
    if check.proportion:
        parts = {"/hits": check.proportion.hits, "/total": check.proportion.total}
        return {part: query for part, query in parts.items() if query}
    return {}


def _named(part: str) -> str:
    return f" for {part[1:]}" if part else ""


def _wrong(answer: Answer | None) -> str:
    """What is wrong with an answer whatever the data are; empty when it may be right."""
    if answer is None:
        return ""
    # Prometheus has answered other queries meanwhile. Nothing, or NaN, may be what this one gives without errors to count.
    return one_number(answer)[1] if isinstance(answer, Unavailable) or len(answer) > 1 else ""


def _has_served(md: ModelDeployment, known: RevisionStatus | None, now: datetime) -> bool:
    """Whether all of `SPAN` is known, as far as the history goes back: since before that a revision was stable, alone or not."""
    since = [entry.finished_at for entry in md.status.history if known and entry.revision == known.revision]
    return not since or now - since[-1] >= SPAN
