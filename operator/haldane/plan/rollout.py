"""The rollout engine: one pure step from the state in status to the next.

    Initializing -> Stable -> Preparing -> Progressing -> Promoting -> Watching -> Stable
                                 |              |            |            |
                                 +--------------+------ RollingBack <----+ -> Stable

Every phase is left by proof, by a deadline or by a new spec. A step that is taken twice, or late, gives the same state:
nothing but status, the cluster and the time goes in.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.rollout import Step
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import gates_rollout as gating
from haldane.plan import recreate, route, setbacks
from haldane.plan import transitions as to
from haldane.plan.analysis import Analysis
from haldane.plan.annotations import awaits_approval
from haldane.plan.arrival import hold_began, passed_alone, share_missing, told_alone
from haldane.plan.asking import due_at
from haldane.plan.capacity import full_size
from haldane.plan.deadlines import is_overdue
from haldane.plan.evidence import unseen
from haldane.plan.gates import Report
from haldane.plan.gates_verdicts import recorded
from haldane.plan.hazards import in_danger, interrupted, not_asked_for, not_ready_in_time
from haldane.plan.observed import Observed
from haldane.plan.power import proved
from haldane.plan.promotion import promoting, rolling_back, watching
from haldane.plan.rejection import without_old_tokens
from haldane.plan.revision import Revision
from haldane.plan.situation import Decision, Situation, sized
from haldane.plan.stand_alone import lost_since
from haldane.plan.strategy import checks_decide, in_effect
from haldane.plan.verbs import answering, hear

LOOK_AGAIN = timedelta(seconds=10)
"""Longest time between two looks at a rollout under way, whatever events were lost."""


def step(
    md: ModelDeployment,
    target: Revision,
    observed: Observed,
    analysis: Analysis | None,
    now: datetime,
    gates: Report | None = None,
    is_looking: bool = False,
) -> Decision:
    """Decide the next state.

    `target` is the revision that the spec asks for; `analysis` is this pass's evaluation, None when none was due, or while one
    `is_looking`; `gates` is what was found before any traffic, None where nobody is to be asked.
    """
    before, earlier = md.status.rollout.gates, md.status.rollout
    md = without_old_tokens(md)
    md = recorded(md, gates.findings if gates else None, now)
    judged = in_effect(_recorded(md, observed, analysis, now))
    heard = hear(Situation(judged, target, observed, analysis, now, gates, is_looking))
    s, decision = heard.situation, heard.decision or _next(heard.situation)
    decision = told_alone(earlier, s, decision)
    told = gating.told(before, md.status.rollout.gates)
    events = tuple(answering(event) for event in (*told, *heard.events, *decision.events))
    return Decision(decision.status, _next_look(s, decision), events)


def _next(s: Situation) -> Decision:
    if s.status.stable is None:
        return to.first_deployment(s)
    phases: dict[str, Callable[[Situation], Decision]] = {
        "Initializing": _initializing,
        "Stable": _stable,
        "Preparing": _preparing,
        "Progressing": _progressing,
        "Promoting": promoting,
        "Watching": watching,
        "RollingBack": rolling_back,
    }
    return phases[s.rollout.phase](s)


def _recorded(md: ModelDeployment, observed: Observed, analysis: Analysis | None, now: datetime) -> ModelDeployment:
    """The object with this pass's verdicts, the size that stable should have and whether it has pods in its status."""
    status = md.status
    if analysis:
        share = analysis.share
        shown = f"{share.candidate / share.total * 100:.1f}" if share and share.total else None
        in_watch = status.rollout.phase == "Watching"
        rollout = status.rollout.model_copy(
            update={
                "checks": list(analysis.checks),
                "checked_at": analysis.at,
                "observed_weight": None if in_watch else shown,
            }
        )
        status = status.model_copy(update={"rollout": rollout})
    if status.stable and status.rollout.phase != "RollingBack":
        replicas = full_size(md, observed, status.stable.revision)
        if status.candidate or observed.pods(status.stable.revision).replicas == 0:
            # An autoscaler shrinks stable as its share falls; promotion and rollback need what carried everything. So does
            # a Deployment that somebody deleted, and that is made again.
            replicas = max(replicas, min(status.stable.replicas, md.spec.scaling.max_replicas or 0))
        rollout = status.rollout.model_copy(update={"stable_lost_at": lost_since(status, observed, now)})
        stable = status.stable.model_copy(update={"replicas": replicas})
        status = status.model_copy(update={"stable": stable, "rollout": rollout})
    return md.model_copy(update={"status": status})


def _next_look(s: Situation, decision: Decision) -> timedelta | None:
    rollout = decision.status.rollout
    looks = [decision.requeue_after] if decision.requeue_after else []
    due = due_at(s.md.model_copy(update={"status": decision.status}), s.now)
    if due:
        looks.append(max(timedelta(milliseconds=100), due - s.now))
    if rollout.phase != "Stable":
        looks.append(LOOK_AGAIN)
    return min(looks, default=None)


def _initializing(s: Situation) -> Decision:
    stable = s.status.stable
    pods = s.pods(stable)
    if stable and s.target.name != stable.revision:
        # A first revision that never served is not worth a canary beside it.
        return _stable(s) if pods.ready else to.first_deployment(s)
    if pods.ready >= s.spec.scaling.min_replicas:
        return to.initialized(s)
    waiting = f"waiting for the pods of version {s.target.version}: {pods.ready} of {s.spec.scaling.min_replicas} ready"
    return to.moved(s, waiting, route_awaited_at=None)


def _stable(s: Situation) -> Decision:
    stable = s.status.stable
    if stable is None or s.target.name == stable.revision or s.is_rejected:
        at_rest = s.rollout.phase == "Stable"
        if not stable or not at_rest:
            return Decision(s.status)
        decision = to.moved(s, f"version {stable.version} serves", route_awaited_at=None)
        return setbacks.accepted(s, decision) if stable.revision == s.target.name and not s.is_rejected else decision
    if s.hold:
        return to.moved(s, f"version {s.target.version} is not rolled out: {s.hold}", route_awaited_at=None)
    return route.occupied(s) or route.followed(s) or route.settling(s) or gating.not_yet(s) or to.begin(s)


def _preparing(s: Situation) -> Decision:
    if s.rollout.strategy == "Recreate":
        return recreate.preparing(s)
    ended = interrupted(s)
    if ended:
        return ended
    index, needed = s.step_index, s.needed(s.step_index)
    pods = s.pods(s.status.candidate)
    if refusal := gating.unfit(s, pods) or gating.refusal(s):
        return refusal
    if s.hold and (pods.ready >= needed or is_overdue(s.md, s.now)):
        return sized(to.moved(s, f"weight 0%: {s.hold}"), needed)
    if pods.ready >= needed:
        if waiting := route.unshown(s) or gating.held(s):
            return sized(waiting, needed)
        return to.set_weight(s, index, s.step.weight) if s.step.weight else to.preview(s, index)
    if waiting := not_asked_for(s, needed) or route.not_given_up(s):
        return sized(waiting, needed)
    if is_overdue(s.md, s.now):
        return not_ready_in_time(s, needed)
    decision = to.moved(s, f"waiting for the pods of version {s.target.version}: {pods.ready} of {needed} ready")
    return sized(decision, needed)


def _progressing(s: Situation) -> Decision:
    endangered = in_danger(s)
    if endangered:
        return endangered
    index, current = s.step_index, s.step
    needed = s.needed(index)
    size = route.still_needed(s, needed)
    if s.hold:
        return sized(to.moved(s, f"weight {s.rollout.weight}%: {s.hold}"), size)
    if current.weight < s.rollout.weight and not s.may_go_back:
        # Of an edited step: requests are not taken from pods that are ready to where none are.
        why = f"weight {s.rollout.weight}%: not lowered to {current.weight}% while stable has no ready pod"
        return sized(_undecided(s, index, why) if is_overdue(s.md, s.now) else to.moved(s, why, after=to.SOON), size)
    if current.weight == 0 and (s.rollout.weight or s.rollout.step_started_at is None):
        return to.preview(s, index)  # the step was edited while it was under way
    if s.rollout.weight != current.weight:
        needed = s.prepared(needed, current.weight)
        if s.pods(s.status.candidate).ready >= needed:
            return to.set_weight(s, index, current.weight)
        if is_overdue(s.md, s.now):
            return not_ready_in_time(s, needed)
        waiting = f"weight {s.rollout.weight}%: waiting for {needed} ready pods before weight {current.weight}%"
        return sized(to.moved(s, waiting), max(needed, size))
    return sized(_held(s, index, current), size)


def _held(s: Situation, index: int, current: Step) -> Decision:
    """At the step's weight: first its share must be seen, then its hold must pass, then every check must pass."""
    # The look that is under way may be the one that lets the step pass.
    overdue = is_overdue(s.md, s.now) and not s.is_looking
    if s.rollout.step_started_at is None:
        missing = share_missing(s, s.analysis, current.weight) if s.analysis else s.rollout.message
        if missing:
            return _undecided(s, index, missing) if overdue else to.moved(s, missing)
        holding = f"weight {current.weight}%: holding for {current.hold}"
        return to.moved(s, holding, after=to.SOON, step_started_at=hold_began(s))
    left = parse_duration(current.hold) - s.since(s.rollout.step_started_at)
    if left > timedelta(0):
        return to.moved(s, f"weight {current.weight}%: holding for {current.hold}", after=left)
    open_checks = [c for c in s.rollout.checks if c.verdict != "Pass"]
    # Prometheus may take a while to answer: a look that was asked for before the end of the hold is not the one at its end.
    ended = s.rollout.step_started_at + parse_duration(current.hold)
    is_last_look = not s.spec.rollout.checks or (s.rollout.checked_at is not None and s.rollout.checked_at >= ended)
    if not checks_decide(s.md, current) or (not open_checks and not unseen(s.md) and is_last_look):
        return _passed(s, index)
    reasons = (
        "; ".join(f"check {c.name}: {c.message}" for c in open_checks) or "the checks are to be evaluated once more"
    )
    missing = f"weight {current.weight}%: holding, {reasons}"
    # What is not decided at the deadline is what a look after it leaves open: it takes what the ones before thought too poor.
    looked = s.rollout.checked_at
    is_over = overdue and (not s.spec.rollout.checks or (looked is not None and is_overdue(s.md, looked)))
    return _undecided(s, index, missing) if is_over else to.moved(s, missing)


def _undecided(s: Situation, index: int, why: str) -> Decision:
    """The step's deadline has passed without proof: do what `onInconclusive` says."""
    choice = s.spec.rollout.analysis.on_inconclusive
    if choice == "Rollback":
        return setbacks.roll_back(s, "RolledBack", "Inconclusive", f"undecided at the deadline of its step: {why}")
    if choice == "Promote":
        if s.step.approval and not s.rollout.approved:
            return _passed(s, index)
        waived = f"went on without proof at weight {s.rollout.weight}%, as onInconclusive asks"
        return to.with_event(
            _advance(s, index, waived),
            "Warning",
            "PromotedUndecided",
            f"Going on without proof, as onInconclusive asks: {why}.",
        )
    return to.moved(s, why)


def _passed(s: Situation, index: int) -> Decision:
    """The step has passed; what may be missing is a person's word."""
    if s.step.approval and not s.rollout.approved:
        return to.moved(s, awaits_approval(s.md, s.rollout))
    pods, needed = s.pods(s.status.candidate), s.needed(index)
    if s.step.weight and pods.ready < needed:
        why = f"weight {s.rollout.weight}%: holding, {pods.ready} of {needed} pods are ready"
        if not is_overdue(s.md, s.now):
            return to.moved(s, why)
        return _undecided(s, index, f"{why}: {pods.problem.message}" if pods.problem else why)
    return _advance(s, index, passed_alone(s))


def _advance(s: Situation, index: int, waived: str | None = None) -> Decision:
    """The step is over: on to the next one, or to the promotion. The weight rises only when the pods for it are ready."""
    seen = proved(s.rollout)
    if index + 1 < len(s.spec.rollout.steps):
        following = s.spec.rollout.steps[index + 1]
        message = f"weight {s.rollout.weight}%: passed; preparing weight {following.weight}%"
        following_step = {"step": index + 1, "phase_started_at": s.now, "step_started_at": None}
        following_step |= {"asked_anew_at": None, "lost_at": None, "approved": None}
        return to.moved(s, message, after=to.SOON, waived=waived or s.rollout.waived, seen=seen, **following_step)
    return to.promote(s, "every step passed: preparing the promotion", waived, seen)
