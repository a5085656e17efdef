"""The ways back: to the step again, to stable, and after a promotion to the revision before. Each constructs a Decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from haldane.api.quantity import parse_duration
from haldane.api.status import Outcome, Rejected, RevisionStatus
from haldane.plan import transitions as to
from haldane.plan.annotations import by
from haldane.plan.capacity import candidate_size
from haldane.plan.crashes import repeated
from haldane.plan.deadlines import step_limit
from haldane.plan.rejection import retry_token
from haldane.plan.situation import Decision, Situation, sized
from haldane.plan.stand_alone import is_alone

REJECTED_LIMIT = 20

TOO_FEW = timedelta(seconds=30)
"""How long too few ready pods of the old version wait for the others before they take over from a bad one.

Pods that start at the same time, are deleted or change their node are mostly there by then; and of those that are not nobody
knows when they will be, while all requests go to what is bad.
"""

BLAMELESS = frozenset({"SpecSetBack", "Superseded"})
"""Reasons to end a rollout that leave its revision free to be tried again: the spec itself asks for another."""


def retreat(s: Situation, why: str) -> Decision:
    """The candidate has no ready pod: take its traffic away and wait for its pods again, at the same step.

    What a person has promoted stays promoted: only its pods are waited for, and no step asks for its hold or approval again.
    Pods that come and go are waited for as long as the step may last, from when they first went, be it in the step or in the
    promotion after it: neither may begin anew for ever.
    """
    first = s.rollout.lost_at or s.now
    if s.now > first + step_limit(s.md):
        why = f"{why}, not for the first time since {first:%H:%M:%S} UTC"
        return roll_back(s, "RolledBack", "CandidateLost", why)
    is_promoted = s.rollout.phase == "Promoting" and (s.rollout.waived or "").startswith(to.PROMOTED_NOW)
    phase, goes_on = ("Promoting", "the promotion goes on") if is_promoted else ("Preparing", "the step is tried again")
    message = f"weight 0%: {why}; {goes_on} when its pods are ready"
    begun: dict[str, Any] = {"phase_started_at": s.now, "weight_changed_at": s.now, "lost_at": first}
    # A promotion has asked for its pods once, and is not to wait for them anew; a step that is tried again may, like any.
    begun["asked_anew_at"] = s.now if is_promoted else None
    ended = {"step_started_at": None, "route_awaited_at": None}
    decision = to.moved(s, message, after=to.SOON, phase=phase, weight=0, checks=[], **begun, **ended)
    return to.with_event(decision, "Warning", "CandidateLost", f"Weight set to 0%: {why}.")


def roll_back(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Take the traffic from the candidate at once; its pods drain before they go.

    The revision is rejected, too, unless it goes because of what spec asks for now: then nothing was found wrong with it.
    Whatever the reason, a deadline as well: requests are not taken from pods that are ready to where none are.
    """
    if s.rollout.weight and not s.may_go_back:
        return take_over(s, outcome, reason, why) if _is_not_awaited(s) else stay(s)
    decision = to.without_weight(s, "RollingBack", f"weight 0%: {why}")
    if s.rollout.strategy == "Recreate":
        decision = _emptied(decision)
    return _ended_badly(s, decision, s.status.candidate, outcome, reason, why)


def undo(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Go back after the promotion: the previous revision becomes stable again, at once when it still has enough pods.

    Nearly as many as carry the traffic now, that is: it may have grown since. Others that are missing are waited for a while
    (`promotion.rolling_back`), unless what serves is so bad that too few are better.
    """
    failing, previous = s.status.stable, s.status.previous
    if failing is None or previous is None:
        return Decision(s.status)
    ready = s.pods(previous).ready
    message = f"going back to version {previous.version}: {why}"
    decision = to.without_weight(s, "RollingBack", message, back_at=s.now if ready else None)
    needed = max(previous.replicas, s.full(failing), failing.replicas)
    decision = Decision(
        decision.status.model_copy(update={"previous": previous.model_copy(update={"replicas": needed})}),
        decision.requeue_after,
    )
    decision = _ended_badly(s, decision, failing, outcome, reason, why)
    if s.rollout.strategy == "Recreate":
        return _emptied(restore(s, decision))
    is_dire = s.pods(failing).ready == 0 or (reason == "CheckFailed" and _is_beyond_abort(s))
    return restore(s, decision) if are_enough(ready, needed) or (ready > 0 and is_dire) else decision


def are_enough(ready: int, needed: int) -> bool:
    """Whether so many pods take over at once: three quarters of what carries everything, which has some room, suffice."""
    return 4 * ready >= 3 * needed


def is_bad(s: Situation) -> bool:
    """Whether something was found wrong with what serves, which should go: it is rejected, or crashes again and again."""
    stable, beside = s.status.stable, s.pods(s.status.previous)
    is_rejected = stable is not None and any(rejected.revision == stable.revision for rejected in s.status.rejected)
    return is_rejected or bool(repeated(s.pods(stable), s.rollout.weight_changed_at, beside, serves_alone=True))


def undo_failed(s: Situation) -> Decision:
    """The previous revision cannot be brought back, or another is wanted by now: what serves goes on.

    What was found wrong with it stays on record: it serves for want of another, and status says so.
    """
    stable, previous = s.status.stable, s.status.previous
    if stable is None or previous is None:
        return Decision(s.status)
    message = f"version {previous.version} could not be brought back; version {stable.version} goes on"
    against = next((r.message for r in s.status.rejected if r.revision == stable.revision), None)
    message += f", with this against it: {against}" if against else ""
    decision = to.settled(s, message)
    # What stands against it is how it ended: to go on for want of another is no promotion.
    ended = (entry.outcome for entry in reversed(s.status.history) if entry.revision == stable.revision)
    outcome: Outcome = next(ended, "RolledBack") if against else "Promoted"
    status = decision.status.model_copy(update={"history": to.history(s, stable, outcome, message)})
    return to.with_event(Decision(status, to.SOON), "Warning", "UndoFailed", f"{message[0].upper()}{message[1:]}.")


def accepted(s: Situation, decision: Decision) -> Decision:
    """What serves for want of another, and a person wants it as it is: nothing stands against it any more."""
    stable = s.status.stable
    if stable is None or stable.revision not in {r.revision for r in s.status.rejected}:
        return decision
    status = decision.status.model_copy(
        update={"rejected": [r for r in s.status.rejected if r.revision != stable.revision]}
    )
    text = f"Version {stable.version} serves and is no longer rejected, as asked{by(s.md, 'retry')}."
    return to.with_event(Decision(status, decision.requeue_after, decision.events), "Normal", "Retried", text)


def stay(s: Situation) -> Decision:
    """The candidate should go, but stable has no ready pod to take its requests: it gets the pods to serve alone."""
    stable, candidate = s.status.stable, s.status.candidate
    version = stable.version if stable else ""
    message = f"weight {s.rollout.weight}%: not going back yet, no pod of version {version} is ready"
    least = candidate_size(s.md, 100 if is_alone(s.rollout, s.now) else s.rollout.weight, s.stable_size)
    return sized(to.moved(s, message, after=to.SOON), max(least, candidate.replicas if candidate else 0))


def take_over(s: Situation, outcome: Outcome, reason: str, why: str) -> Decision:
    """Stable has had no ready pod for so long that the candidate, which should go, serves everything until it has some.

    From here on it is the undo of a promotion that never was: stable's pods are waited for, up to a deadline or until spec asks
    for another revision, which is then rolled out beside what serves.
    """
    stable, candidate = s.status.stable, s.status.candidate
    if stable is None or candidate is None:
        return Decision(s.status)
    if reason in BLAMELESS and (failed := s.failed):
        outcome, reason, why = "RolledBack", "CheckFailed", f"check {failed.name} failed: {failed.message}"
    message = (
        f"going back to version {stable.version} when its pods are ready: version {candidate.version} serves alone"
    )
    decision = to.without_weight(s, "RollingBack", message, stable_lost_at=None)
    decision = _ended_badly(s, decision, candidate, outcome, reason, why)
    status = decision.status.model_copy(
        update={
            "stable": candidate.model_copy(update={"replicas": max(candidate.replicas, s.stable_size)}),
            "candidate": None,
            "previous": stable.model_copy(update={"replicas": max(stable.replicas, s.pods(stable).replicas)}),
        }
    )
    lost = f"{s.rollout.stable_lost_at:%H:%M:%S} UTC" if s.rollout.stable_lost_at else "long"
    text = f"No pod of version {stable.version} has been ready since {lost}: version {candidate.version} gets all requests."
    return to.with_event(Decision(status, to.SOON, decision.events), "Warning", "TookOver", text)


def _is_not_awaited(s: Situation) -> bool:
    """Whether the candidate, which alone has pods, takes over from stable: when it has enough for everything, or at a deadline."""
    if not is_alone(s.rollout, s.now):
        return False
    is_overdue = s.since(s.rollout.stable_lost_at) > parse_duration(s.spec.rollout.progress_deadline)
    return is_overdue or s.pods(s.status.candidate).ready >= s.stable_size


def _is_beyond_abort(s: Situation) -> bool:
    """Whether the check that failed says that too many answers are spoilt to wait: its hard limit, or NaN for numbers."""
    failed = s.failed
    check = next((c for c in s.spec.rollout.checks if failed and c.name == failed.name), None)
    if failed is None or check is None:
        return failed is not None
    return (
        check.error_rate is not None and check.error_rate.abort is not None and failed.limit == check.error_rate.abort
    )


def restore(s: Situation, decision: Decision) -> Decision:
    """Point the stable Service back at the previous revision; the failing one drains as a candidate does."""
    status = decision.status
    rollout = status.rollout.model_copy(update={"weight_changed_at": s.now, "back_at": None})
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
