"""Recreate: for models of which only one fits, on the one GPU there is. The old pods go before the new ones come.

Between them nobody answers, and after the promotion nothing is warm: that is the price of the strategy, and status says so.
What can be known without waiting is therefore not waited for: a model that cannot be loaded goes back at once.

Which pods there are follows from status alone (`capacity.wanted_pods`): while there is a candidate, stable has none.
"""

from __future__ import annotations

from haldane.plan import setbacks
from haldane.plan import transitions as to
from haldane.plan.deadlines import is_overdue
from haldane.plan.gates_rollout import held, unfit
from haldane.plan.hazards import interrupted, not_asked_for, not_ready_in_time
from haldane.plan.situation import Decision, Situation, sized
from haldane.plan.strategy import chosen

HOPELESS = frozenset(
    {
        "AccessDenied",
        "ChecksumMismatch",
        "GoldenMismatch",
        "InvalidConfiguration",
        "InvalidModel",
        "ModelNotFound",
        "PrecisionLoss",
    }
)
"""Why a load failed that will fail again. The others may pass: a GPU's memory is freed late, a store comes back."""


def preparing(s: Situation) -> Decision:
    ended = interrupted(s)
    if ended:
        return ended
    stable, candidate = s.status.stable, s.status.candidate
    if stable is None or candidate is None:
        return Decision(s.status)
    left, pods, full = s.pods(stable), s.pods(candidate), s.stable_size
    if candidate.replicas == 0:
        if left.replicas or left.ready or left.present:
            if is_overdue(s.md, s.now):
                why = f"the pods of version {stable.version} did not go within {s.spec.rollout.progress_deadline}"
                return setbacks.roll_back(s, "RolledBack", "ProgressDeadlineExceeded", why)
            return to.moved(s, f"waiting for the pods of version {stable.version} to go: {left.present} are left")
        text = f"nothing serves until a pod of version {candidate.version} is ready"
        return sized(to.moved(s, text, after=to.SOON, phase_started_at=s.now), full)
    if refusal := unfit(s, pods):
        return refusal
    if pods.ready > 0:
        if waiting := held(s):
            return waiting
        # The first pod that is ready ends the gap; the others follow.
        return to.hand_over(s)
    if unasked := not_asked_for(s, full):
        return unasked
    if pods.problem and pods.problem.reason in HOPELESS:
        return setbacks.roll_back(
            s, "RolledBack", "CandidateCrashed", f"its model cannot be loaded: {pods.problem.message}"
        )
    if is_overdue(s.md, s.now):
        return not_ready_in_time(s, 1)
    text = f"nothing serves until a pod of version {candidate.version} is ready: 0 of {full} are"
    return sized(to.moved(s, text), full)


def going_back(s: Situation) -> Decision | None:
    """The failing pods go, then stable's come back. None when stable serves again, or takes too long to be waited for."""
    stable, candidate = s.status.stable, s.status.candidate
    if stable is None:
        return None
    if candidate:
        left = s.pods(candidate)
        if (left.replicas or left.ready or left.present) and not is_overdue(s.md, s.now):
            return Decision(s.status, to.SOON)
        if s.wants_another and chosen(s.md) == "Recreate":
            return to.begin(s)  # stable's pods would come only to go again
        text = f"nothing serves until a pod of version {stable.version} is ready again"
        decision = to.moved(s, text, after=to.SOON, phase_started_at=s.now)
        return Decision(decision.status.model_copy(update={"candidate": None}), to.SOON)
    if s.pods(stable).ready > 0 or is_overdue(s.md, s.now):
        return None
    return Decision(s.status, to.SOON)
