"""The moves from one rollout state to the next. Each is a pure constructor of a Decision; when to make them is in `rollout`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from haldane.api.status import HistoryEntry, Outcome, Phase, Rejected, RevisionStatus, RolloutStatus
from haldane.plan.annotations import by
from haldane.plan.capacity import candidate_size
from haldane.plan.deadlines import is_overdue
from haldane.plan.observed import Event
from haldane.plan.rejection import retry_token
from haldane.plan.revision import Revision
from haldane.plan.situation import Decision, Situation
from haldane.plan.strategy import chosen

HISTORY_LIMIT = 20
REJECTED_LIMIT = 20

BLAMELESS = frozenset({"SpecSetBack", "Superseded"})
"""Reasons to end a rollout that leave its revision free to be tried again: the spec itself asks for another."""

ROUTE_SETTLE = timedelta(seconds=5)
"""How long a new weight or selector may take until every proxy acts on it.

Ingress controllers batch their updates (Traefik: up to `providersThrottleDuration`, 2 s by default); pods that leave a
Service earlier than that cost requests.
"""

SOON = timedelta(seconds=1)


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
    rejected = [r for r in s.status.rejected if r.revision != s.target.name]
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
    if len(rejected) < len(s.status.rejected):
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
        phase_started_at=s.rollout.phase_started_at if promoting or s.came_back else s.now,
        weight_changed_at=s.now,
        step_started_at=None,
        checks=[],
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
        phase_started_at=s.rollout.phase_started_at if s.came_back else s.now,
        weight_changed_at=s.now,
        step_started_at=s.now,
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
        waived=waived or s.rollout.waived,
        seen=seen or s.rollout.seen,
    )


def retreat(s: Situation, why: str) -> Decision:
    """The candidate has no ready pod: take its traffic away and wait for its pods again, at the same step.

    Pods that come and go are waited for as long as the step may last, from when they first went: it may not begin anew for ever.
    """
    if s.has_lost_before and is_overdue(s.md, s.now):
        why = f"{why}, not for the first time since {s.rollout.phase_started_at:%H:%M:%S} UTC"
        return roll_back(s, "RolledBack", "CandidateLost", why)
    message = f"weight 0%: {why}; the step is tried again when its pods are ready"
    first = s.rollout.phase_started_at if s.has_lost_before else s.now
    begun = {"phase_started_at": first, "weight_changed_at": s.now, "step_started_at": None}
    decision = moved(s, message, after=SOON, phase="Preparing", weight=0, checks=[], **begun)
    return with_event(decision, "Warning", "CandidateLost", f"Weight set to 0%: {why}.")


def roll_back(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Take the traffic from the candidate at once; its pods drain before they go.

    The revision is rejected, too, unless it goes because of what spec asks for now: then nothing was found wrong with it.
    """
    decision = without_weight(s, "RollingBack", f"weight 0%: {why}")
    if s.rollout.strategy == "Recreate":
        decision = _emptied(decision)
    return _ended_badly(s, decision, s.status.candidate, outcome, reason, why)


def undo(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Go back after the promotion: the previous revision becomes stable again, at once when it still has ready pods."""
    failing, previous = s.status.stable, s.status.previous
    if failing is None or previous is None:
        return Decision(s.status)
    decision = without_weight(s, "RollingBack", f"going back to version {previous.version}: {why}")
    needed = max(previous.replicas, s.full(failing), failing.replicas)
    decision = Decision(
        decision.status.model_copy(update={"previous": previous.model_copy(update={"replicas": needed})}),
        decision.requeue_after,
    )
    decision = _ended_badly(s, decision, failing, outcome, reason, why)
    if s.rollout.strategy == "Recreate":
        return _emptied(restore(s, decision))
    ready = s.pods(previous).ready
    # Who only set the spec back loses nothing by waiting for all of them; a failing version costs every second.
    return restore(s, decision) if ready >= needed or (ready > 0 and reason not in BLAMELESS) else decision


def undo_failed(s: Situation) -> Decision:
    """The previous revision cannot be brought back, or another is wanted by now: what serves goes on, and is no longer rejected."""
    stable, previous = s.status.stable, s.status.previous
    if stable is None or previous is None:
        return Decision(s.status)
    message = f"version {previous.version} could not be brought back; version {stable.version} goes on"
    decision = settled(s, message)
    rejected = [r for r in s.status.rejected if r.revision != stable.revision]
    status = decision.status.model_copy(update={"rejected": rejected})
    return with_event(Decision(status, SOON), "Warning", "UndoFailed", f"{message[0].upper()}{message[1:]}.")


def stay(s: Situation) -> Decision:
    """The candidate should go, but stable has no ready pod to take its requests."""
    version = s.status.stable.version if s.status.stable else ""
    return moved(s, f"weight {s.rollout.weight}%: not going back yet, no pod of version {version} is ready", after=SOON)


def restore(s: Situation, decision: Decision) -> Decision:
    """Point the stable Service back at the previous revision; the failing one drains as a candidate does."""
    status = decision.status
    rollout = status.rollout.model_copy(update={"weight_changed_at": s.now})
    status = status.model_copy(
        update={"stable": status.previous, "candidate": status.stable, "previous": None, "rollout": rollout}
    )
    return Decision(status, SOON, decision.events)


def hand_over(s: Situation) -> Decision:
    """Move the stable Service to the candidate's own pods.

    The route still sends everything to them, or, after the old pods went first, nobody anything anywhere.
    """
    candidate, stable = s.status.candidate, s.status.stable
    if candidate is None or stable is None:
        return Decision(s.status)
    message = f"version {candidate.version} takes over: waiting until the Service and the route point at its pods"
    decision = moved(s, message, after=SOON, phase="Promoting", weight_changed_at=s.now)
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
    status = decision.status.model_copy(update={"history": past})
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
        **changes,
    )


def moved(s: Situation, message: str, after: timedelta | None = None, **changes: Any) -> Decision:
    """The same revisions with some of `status.rollout` changed."""
    rollout = s.rollout.model_copy(update={"message": message, **changes})
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


def _emptied(decision: Decision) -> Decision:
    """Without surge the failing pods go first, and at once: nothing else can serve before they have gone."""
    candidate = decision.status.candidate
    if candidate is None:
        return decision
    status = decision.status.model_copy(update={"candidate": candidate.model_copy(update={"replicas": 0})})
    return Decision(status, decision.requeue_after, decision.events)


def _ended_badly(
    s: Situation, decision: Decision, failing: RevisionStatus | None, outcome: Outcome, reason: str, why: str
) -> Decision:
    if failing is None:
        return decision
    changes: dict[str, Any] = {"history": history(s, failing, outcome, why)}
    if reason not in BLAMELESS:
        rejected = Rejected(
            revision=failing.revision,
            version=failing.version,
            reason=reason,
            message=why,
            at=s.now,
            retry=retry_token(s.md),
        )
        others = [r for r in s.status.rejected if r.revision != failing.revision]
        # What spec asks for stays rejected, however long ago that was: it would be tried again by itself.
        kept = [r for r in others if r.revision == s.target.name]
        others = [r for r in others if r.revision != s.target.name]
        changes["rejected"] = [*others, *kept, rejected][-REJECTED_LIMIT:]
    decision = Decision(decision.status.model_copy(update=changes), decision.requeue_after, decision.events)
    kind = "Warning" if outcome == "RolledBack" else "Normal"
    return with_event(decision, kind, outcome, f"Version {failing.version}: {why}.")
