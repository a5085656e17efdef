"""What ends a rollout before its time: a new spec, a failed check, crashed pods, a deadline."""

from __future__ import annotations

from haldane.plan import setbacks
from haldane.plan import transitions as to
from haldane.plan.crashes import repeated
from haldane.plan.situation import Decision, Situation, sized


def interrupted(s: Situation) -> Decision | None:
    """A spec that no longer asks for this candidate ends the rollout, whatever phase it is in."""
    candidate, stable = s.status.candidate, s.status.stable
    if candidate is None or s.target.name == candidate.revision:
        return None
    if stable and s.target.name == stable.revision:
        return setbacks.roll_back(s, "Aborted", "SpecSetBack", f"the spec was set back to version {stable.version}")
    return setbacks.roll_back(
        s, "Superseded", "Superseded", f"version {s.target.version} supersedes version {candidate.version}"
    )


def in_danger(s: Situation) -> Decision | None:
    """What ends or interrupts a candidate that has traffic: a new spec, a failed check, or no ready pods."""
    ended = interrupted(s)
    if ended:
        return ended
    if failed := s.failed:
        return setbacks.roll_back(s, "RolledBack", "CheckFailed", f"check {failed.name} failed: {failed.message}")
    pods = s.pods(s.status.candidate)
    # Without a share nobody misses them: a promotion that was asked for waits for them, until its deadline.
    if s.rollout.phase == "Promoting" and s.rollout.weight == 0:
        return None
    if crash := repeated(pods, s.rollout.weight_changed_at, s.pods(s.status.stable)):
        why = f"its pods crash again and again: {crash.message}"
        return setbacks.roll_back(s, "RolledBack", "CandidateCrashed", why)
    if pods.ready > 0:
        return None
    if pods.problem and pods.problem.crashed:
        return setbacks.roll_back(s, "RolledBack", "CandidateCrashed", f"its pods crashed: {pods.problem.message}")
    return setbacks.retreat(s, "no pod of the candidate is ready")


def collapse(s: Situation) -> Decision | None:
    """The revision that has just taken over lost all of its pods: the one before takes over again.

    At once after a crash; otherwise (hung, unready, its nodes gone) when the one before still has ready pods.
    """
    pods = s.pods(s.status.stable)
    if crash := repeated(pods, s.rollout.weight_changed_at, s.pods(s.status.previous), serves_alone=True):
        why = f"its pods crash again and again after the promotion: {crash.message}"
        return setbacks.undo(s, "RolledBack", "CandidateCrashed", why)
    if pods.ready > 0:
        return None
    if pods.problem and pods.problem.crashed:
        why = f"its pods crashed after the promotion: {pods.problem.message}"
        return setbacks.undo(s, "RolledBack", "CandidateCrashed", why)
    if s.pods(s.status.previous).ready > 0 and s.since(s.rollout.weight_changed_at) > to.ROUTE_SETTLE:
        return setbacks.undo(s, "RolledBack", "NoReadyPods", "none of its pods was ready after the promotion")
    return None


def not_asked_for(s: Situation, needed: int) -> Decision | None:
    """The candidate's pods were never asked for, if the operator was away since it decided that: their deadline begins now.

    Once: an API server that does not take them is no reason to wait without end.
    """
    candidate = s.status.candidate
    if candidate is None or candidate.revision in s.observed.revisions or s.rollout.asked_anew_at:
        return None
    return sized(_asked_anew(s, "creating the candidate's pods"), needed)


def not_ready_in_time(s: Situation, needed: int) -> Decision:
    """The deadline has passed without the pods that were needed; what their own problem is goes into the reason."""
    candidate, pods = s.status.candidate, s.pods(s.status.candidate)
    is_unasked = pods.replicas < needed or s.observed.candidate_leads not in (None, candidate and candidate.revision)
    if candidate and is_unasked and s.rollout.asked_anew_at is None:
        # They were never asked for, or not shown to the Service, if the operator was away since it decided that.
        decision = _asked_anew(s, "asking for the candidate's pods")
        return sized(decision, max(needed, candidate.replicas))
    why = f"{pods.ready} of {needed} pods were ready after {s.spec.rollout.progress_deadline}"
    if is_unasked:
        why += ", and the API server did not take all that was asked for them"
    if pods.problem:
        why += f" ({pods.problem.reason}: {pods.problem.message})"
    return setbacks.roll_back(s, "RolledBack", "ProgressDeadlineExceeded", why)


def _asked_anew(s: Situation, message: str) -> Decision:
    """The wait begins anew, and so does that for a share left in the route: perhaps nobody has taken it away either."""
    anew = {"phase_started_at": s.now, "asked_anew_at": s.now, "share_left_at": None}
    return to.moved(s, message, after=to.SOON, **anew)
