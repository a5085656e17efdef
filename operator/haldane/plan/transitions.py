"""The moves of a rollout that goes forward. Each is a pure constructor of a Decision; when to make them is in `rollout`.

The ways back are in `setbacks`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from haldane.api.status import HistoryEntry, Outcome, Phase, RevisionStatus, RolloutStatus
from haldane.plan.annotations import by
from haldane.plan.capacity import candidate_size
from haldane.plan.evidence import anew
from haldane.plan.observed import Event
from haldane.plan.rejection import lifted, retry_token
from haldane.plan.revision import Revision
from haldane.plan.situation import Decision, Situation
from haldane.plan.strategy import chosen

HISTORY_LIMIT = 20

ROUTE_SETTLE = timedelta(seconds=5)
"""How long a new weight or selector may take until every proxy acts on it.

Ingress controllers batch their updates (Traefik: up to `providersThrottleDuration`, 2 s by default); pods that leave a
Service earlier than that cost requests.
"""

SOON = timedelta(seconds=1)

_BEGUN = ("phase_started_at", "weight_changed_at", "lost_at")
"""Moments of which a change begins a wait, or ends one."""

PROMOTED_NOW = "was promoted"
"""How `RolloutStatus.waived` begins when a person has skipped the steps that were left."""


def first_deployment(s: Situation) -> Decision:
    """Nothing serves yet: the revision goes straight to stable."""
    stable = revision_status(s.target, s.spec.scaling.min_replicas)
    rollout = RolloutStatus(
        phase="Initializing",
        started_at=s.now,
        phase_started_at=s.now,
        message=f"waiting for the pods of version {s.target.version}",
    )
    status = s.status.model_copy(update={"stable": stable, "candidate": None, "previous": None, "rollout": rollout})
    return Decision(
        status,
        SOON,
        (Event("Normal", "Deploying", f"Deploying version {s.target.version} (revision {s.target.name})."),),
    )


def initialized(s: Situation) -> Decision:
    """The first revision is ready: it serves."""
    version = s.target.version if s.status.stable is None else s.status.stable.version
    message = f"version {version} serves"
    status = s.status.model_copy(
        update={
            "rollout": at_rest(message, s.now),
            "history": history(s, s.status.stable, "Promoted", f"first deployment: {message}"),
        }
    )
    return Decision(status, SOON, (Event("Normal", "Serving", f"Version {version} is ready and serves."),))


def begin(s: Situation) -> Decision:
    """Start rolling out the revision that spec asks for, with the pods that its first weight needs."""
    strategy = chosen(s.md)
    if strategy == "Recreate":
        replicas = 0
    elif strategy == "BlueGreen":
        replicas = s.stable_size
    else:
        replicas = candidate_size(s.md, s.spec.rollout.steps[0].weight, s.stable_size)
    rejected = lifted(s.status.rejected, retry_token(s.md), None)
    rollout = RolloutStatus(
        phase="Preparing",
        strategy=None if strategy == "Canary" else strategy,
        step=0,
        started_at=s.now,
        phase_started_at=s.now,
        weight_changed_at=s.now,
        message=f"waiting for the pods of version {s.target.version}",
    )
    candidate = revision_status(s.target, replicas)
    status = s.status.model_copy(
        update={"candidate": candidate, "previous": None, "rollout": rollout, "rejected": rejected}
    )
    before = s.status.stable.version if s.status.stable else "none"
    how = f"in place of {before}, whose pods go first" if strategy == "Recreate" else f"beside {before}"
    text = f"Rolling out version {s.target.version} (revision {s.target.name}) {how}."
    events = [Event("Normal", "RolloutStarted", text)]
    if any(r.revision == s.target.name for r in rejected):
        events.insert(
            0, Event("Normal", "Retried", f"Version {s.target.version} is tried again, as asked{by(s.md, 'retry')}.")
        )
    return Decision(status, SOON, tuple(events))


def set_weight(s: Situation, step: int, weight: int) -> Decision:
    """Send the candidate its share. Verdicts start anew: they spoke of another weight."""
    version = s.status.candidate.version if s.status.candidate else ""
    promoting = s.rollout.phase == "Promoting"
    share = f"waiting until the observed share of version {version} is near it"
    decision = moved(
        s,
        f"weight {weight}%: {'waiting until the route carries it' if promoting else share}",
        after=SOON,
        step=step,
        weight=weight,
        phase="Promoting" if promoting else "Progressing",
        phase_started_at=s.rollout.phase_started_at if promoting else s.now,
        weight_changed_at=s.now,
        step_started_at=None,
        share_left_at=None,
        # A promotion goes on waiting for what it has asked for; a step begins here.
        asked_anew_at=s.rollout.asked_anew_at if promoting else None,
        # From a step straight to a weight: what was missed for it is there.
        lost_at=None if s.rollout.phase == "Progressing" else s.rollout.lost_at,
        checks=anew(s.rollout, weight),
    )
    return with_event(decision, "Normal", "WeightChanged", f"Version {version} now gets {weight}% of the requests.")


def preview(s: Situation, step: int) -> Decision:
    """The candidate is ready and gets no share yet: its step of weight 0 begins."""
    header = s.spec.traffic.ingress and s.spec.traffic.ingress.preview_header
    version = s.status.candidate.version if s.status.candidate else ""
    led = f"; requests with {header}: always reach it" if header else ""
    decision = moved(
        s,
        f"weight 0%: version {version} is ready and looked at",
        after=SOON,
        phase="Progressing",
        step=step,
        weight=0,
        phase_started_at=s.now,
        weight_changed_at=s.now,
        step_started_at=s.now,
        share_left_at=None,
        asked_anew_at=None,
        checks=[],
    )
    return with_event(decision, "Normal", "Previewed", f"Version {version} is ready, at weight 0%{led}.")


def promote(s: Situation, message: str, waived: str | None = None, seen: str | None = None) -> Decision:
    """Towards weight 100 and the handover; `waived` is why, when it is not for having passed every step.

    `seen` is what the steps would have seen, when the last one has just passed.
    """
    return moved(
        s,
        message,
        after=SOON,
        phase="Promoting",
        phase_started_at=s.now,
        step_started_at=None,
        share_left_at=None,
        asked_anew_at=None,
        waived=waived or s.rollout.waived,
        seen=seen or s.rollout.seen,
    )


def hand_over(s: Situation) -> Decision:
    """Move the stable Service to the candidate's own pods.

    The route still sends everything to them, or, after the old pods went first, nobody anything anywhere.
    """
    candidate, stable = s.status.candidate, s.status.stable
    if candidate is None or stable is None:
        return Decision(s.status)
    message = f"version {candidate.version} takes over: waiting until the Service and the route point at its pods"
    decision = moved(s, message, after=SOON, phase="Promoting", weight_changed_at=s.now, asked_anew_at=None)
    kept = 0 if s.rollout.strategy == "Recreate" else max(stable.replicas, s.pods(stable).replicas)
    previous = stable.model_copy(update={"replicas": kept})
    status = decision.status.model_copy(update={"stable": candidate, "candidate": None, "previous": previous})
    return Decision(status, SOON)


def promoted(s: Situation) -> Decision:
    """The new stable serves by the stable Service: the canary route goes idle, and the watch begins."""
    version = s.status.stable.version if s.status.stable else ""
    message = f"version {version} serves; watching it"
    decision = without_weight(s, "Watching", message, step=None, observed_weight=None, checks=[])
    passed = {"BlueGreen": "took over in one switch", "Recreate": "took over from pods that went first"}
    how = s.rollout.waived or passed.get(s.rollout.strategy or "", "passed every step")
    how += f"; seen 4 times in 5 would have been, {s.rollout.seen}" if s.rollout.seen else ""
    past = history(s, s.status.stable, "Promoted", f"version {version} {how}")
    rejected = [r for r in s.status.rejected if s.status.stable is None or r.revision != s.status.stable.revision]
    status = decision.status.model_copy(update={"history": past, "rejected": rejected})
    return with_event(
        Decision(status, SOON), "Normal", "Promoted", f"Version {version} is promoted and serves all requests."
    )


def settled(s: Situation, message: str) -> Decision:
    """The rollout is over: only the stable revision is left."""
    rollout = at_rest(message, s.now).model_copy(update={"checks": s.rollout.checks})
    status = s.status.model_copy(update={"candidate": None, "previous": None, "rollout": rollout})
    return Decision(status, SOON)


def without_weight(s: Situation, phase: Phase, message: str, **changes: Any) -> Decision:
    """Into a phase in which the route gives the candidate nothing."""
    return moved(
        s,
        message,
        after=SOON,
        phase=phase,
        weight=0,
        phase_started_at=s.now,
        # A candidate that had no traffic has none to drain.
        weight_changed_at=s.now if s.rollout.weight else s.rollout.weight_changed_at,
        step_started_at=None,
        route_awaited_at=None,
        share_left_at=None,
        asked_anew_at=None,
        lost_at=None,
        **changes,
    )


def moved(s: Situation, message: str, after: timedelta | None = None, **changes: Any) -> Decision:
    """The same revisions with some of `status.rollout` changed. A wait that begins has all its last chances before it."""
    rollout = s.rollout.model_copy(update={"message": message, **changes})
    # While pods that were lost come and go it is one wait, however often a phase begins.
    if rollout.lost_at is None and any(getattr(rollout, at) != getattr(s.rollout, at) for at in _BEGUN):
        rollout = rollout.model_copy(update={"last_chances": None})
    return Decision(s.status.model_copy(update={"rollout": rollout}), after)


def with_event(decision: Decision, kind: Any, reason: str, message: str) -> Decision:
    """The decision with one more Event."""
    return Decision(decision.status, decision.requeue_after, (*decision.events, Event(kind, reason, message)))


def revision_status(revision: Revision, replicas: int) -> RevisionStatus:
    """A revision as status shows it, before anything of it was seen."""
    return RevisionStatus(revision=revision.name, version=revision.version, digest=revision.digest, replicas=replicas)


def at_rest(message: str, now: datetime) -> RolloutStatus:
    """No rollout under way."""
    return RolloutStatus(phase="Stable", phase_started_at=now, message=message)


def history(s: Situation, revision: RevisionStatus | None, outcome: Outcome, message: str) -> list[HistoryEntry]:
    """The history with one more entry, bounded."""
    if revision is None:
        return s.status.history
    entry = HistoryEntry(
        revision=revision.revision,
        version=revision.version,
        outcome=outcome,
        started_at=s.rollout.started_at or s.now,
        finished_at=s.now,
        message=message,
    )
    return [*s.status.history, entry][-HISTORY_LIMIT:]
