"""The ways back: to the step again, to stable, and after a promotion to the revision before. Each constructs a Decision."""

from __future__ import annotations

from typing import Any

from haldane.api.status import Outcome, Rejected, RevisionStatus
from haldane.plan import transitions as to
from haldane.plan.deadlines import step_limit
from haldane.plan.rejection import retry_token
from haldane.plan.situation import Decision, Situation

REJECTED_LIMIT = 20

BLAMELESS = frozenset({"SpecSetBack", "Superseded"})
"""Reasons to end a rollout that leave its revision free to be tried again: the spec itself asks for another."""


def retreat(s: Situation, why: str) -> Decision:
    """The candidate has no ready pod: take its traffic away and wait for its pods again, at the same step.

    Pods that come and go are waited for as long as the step may last, from when they first went, be it in the step or in the
    promotion after it: neither may begin anew for ever.
    """
    first = s.rollout.lost_at or s.now
    if s.now > first + step_limit(s.md):
        why = f"{why}, not for the first time since {first:%H:%M:%S} UTC"
        return roll_back(s, "RolledBack", "CandidateLost", why)
    message = f"weight 0%: {why}; the step is tried again when its pods are ready"
    begun = {"phase_started_at": s.now, "weight_changed_at": s.now, "step_started_at": None, "lost_at": first}
    decision = to.moved(s, message, after=to.SOON, phase="Preparing", weight=0, checks=[], **begun)
    return to.with_event(decision, "Warning", "CandidateLost", f"Weight set to 0%: {why}.")


def roll_back(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Take the traffic from the candidate at once; its pods drain before they go.

    The revision is rejected, too, unless it goes because of what spec asks for now: then nothing was found wrong with it.
    Whatever the reason, a deadline as well: requests are not taken from pods that are ready to where none are.
    """
    if s.rollout.weight and not s.may_go_back:
        return stay(s)
    decision = to.without_weight(s, "RollingBack", f"weight 0%: {why}")
    if s.rollout.strategy == "Recreate":
        decision = _emptied(decision)
    return _ended_badly(s, decision, s.status.candidate, outcome, reason, why)


def undo(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Go back after the promotion: the previous revision becomes stable again, at once when it still has ready pods."""
    failing, previous = s.status.stable, s.status.previous
    if failing is None or previous is None:
        return Decision(s.status)
    decision = to.without_weight(s, "RollingBack", f"going back to version {previous.version}: {why}")
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
    decision = to.settled(s, message)
    rejected = [r for r in s.status.rejected if r.revision != stable.revision]
    status = decision.status.model_copy(update={"rejected": rejected})
    return to.with_event(Decision(status, to.SOON), "Warning", "UndoFailed", f"{message[0].upper()}{message[1:]}.")


def stay(s: Situation) -> Decision:
    """The candidate should go, but stable has no ready pod to take its requests."""
    version = s.status.stable.version if s.status.stable else ""
    return to.moved(
        s, f"weight {s.rollout.weight}%: not going back yet, no pod of version {version} is ready", after=to.SOON
    )


def restore(s: Situation, decision: Decision) -> Decision:
    """Point the stable Service back at the previous revision; the failing one drains as a candidate does."""
    status = decision.status
    rollout = status.rollout.model_copy(update={"weight_changed_at": s.now})
    status = status.model_copy(
        update={"stable": status.previous, "candidate": status.stable, "previous": None, "rollout": rollout}
    )
    return Decision(status, to.SOON, decision.events)


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
    changes: dict[str, Any] = {"history": to.history(s, failing, outcome, why)}
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
    return to.with_event(decision, kind, outcome, f"Version {failing.version}: {why}.")
