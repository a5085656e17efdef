"""The end of a rollout: promotion by handover, the watch after it, and the way back.

The order is what costs no request: full size, weight 100, settle; the stable Service moves to the candidate's pods while the
route still sends everything there; endpoints seen, settle; only then weight 0, and the old pods go last of all.

Measured on kind with Traefik (`e2e/scenarios/test_promotion.py`, at 190 requests/s; seconds after weight 100): Service moved
5.0, its endpoints the candidate's 5.0, weight 0 10.0, old Deployment gone 15.0 (`keepStableFor: 5s`). No request failed, and
every pod was made and loaded once. With the old pods deleted before the Service was moved, 200 to 840 failed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from haldane.api.quantity import parse_duration
from haldane.plan import recreate, route, setbacks
from haldane.plan import transitions as to
from haldane.plan.deadlines import is_overdue
from haldane.plan.gates_rollout import held, not_yet, refusal
from haldane.plan.hazards import collapse, in_danger, not_ready_in_time
from haldane.plan.situation import Decision, Situation, sized


def promoting(s: Situation) -> Decision:
    if s.status.candidate is None:
        return _handing_over(s)
    endangered = in_danger(s)
    if endangered:
        return endangered
    full, ready = s.stable_size, s.pods(s.status.candidate).ready
    if s.rollout.weight == 0 and (ended := refusal(s) or route.not_given_up(s)):
        return sized(ended, full)
    if s.rollout.weight < 100:
        full = s.prepared(full, 100)
    if s.hold and (ready >= full or is_overdue(s.md, s.now)):
        follows = route.followed(s) if s.route_shows(s.rollout.weight) else None
        return sized(follows or to.moved(s, f"weight {s.rollout.weight}%: {s.hold}"), full)
    if ready < full:
        if is_overdue(s.md, s.now):
            return not_ready_in_time(s, full)
        return sized(to.moved(s, f"waiting for full size before the promotion: {ready} of {full} pods ready"), full)
    if s.rollout.weight == 0 and (waiting := route.unshown(s) or held(s)):
        return sized(waiting, full)
    if s.rollout.weight < 100:
        return sized(to.set_weight(s, s.step_index, 100), full)
    if not s.route_shows(100):
        return sized(route.awaited(s, "weight 100%: waiting until the route carries it"), full)
    if follows := route.followed(s):
        return sized(follows, full)
    settling = to.ROUTE_SETTLE - s.since(s.rollout.weight_changed_at)
    if settling > timedelta(0):
        return sized(to.moved(s, "weight 100%: letting the route settle", after=settling), full)
    return to.hand_over(s)


def _handing_over(s: Situation) -> Decision:
    """The stable Service was moved: wait until it is seen to hold nothing but the new stable's pods."""
    stable = s.status.stable
    behind = {revision for revision, ready in s.observed.stable_endpoints.items() if ready}
    settling = to.ROUTE_SETTLE - s.since(s.rollout.weight_changed_at)
    collapsed = collapse(s)
    if collapsed:
        return collapsed
    if s.is_unled and s.rollout.asked_anew_at is None:
        anew = {"phase_started_at": s.now, "weight_changed_at": s.now, "asked_anew_at": s.now}
        return to.moved(s, s.rollout.message, after=to.SOON, **anew)
    if s.since(s.rollout.weight_changed_at) > parse_duration(s.spec.rollout.progress_deadline):
        why = f"the Service did not follow within {s.spec.rollout.progress_deadline}"
        return setbacks.undo(s, "RolledBack", "ProgressDeadlineExceeded", why)
    if stable is None or behind != {stable.revision}:
        return Decision(s.status, to.SOON)
    if settling > timedelta(0):
        return Decision(s.status, settling)
    return to.promoted(s)


def watching(s: Situation) -> Decision:
    stable, previous = s.status.stable, s.status.previous
    if stable is None or previous is None:
        return to.settled(s, f"version {stable.version if stable else ''} serves")
    if s.target.name == previous.revision:
        return setbacks.undo(s, "Aborted", "SpecSetBack", f"the spec was set back to version {previous.version}")
    failed = s.analysis.failed(s.md) if s.analysis else None
    if failed:
        return setbacks.undo(
            s, "RolledBack", "CheckFailed", f"check {failed.name} failed after the promotion: {failed.message}"
        )
    collapsed = collapse(s)
    if collapsed:
        return collapsed
    lost = None if s.pods(stable).ready else s.rollout.lost_at or s.now
    if s.since(lost) > parse_duration(s.spec.rollout.progress_deadline):
        # Neither crashed nor replaced by pods that are still warm: without this it would be waited for without end.
        why = f"none of its pods was ready after the promotion, for {s.spec.rollout.progress_deadline}"
        return setbacks.undo(s, "RolledBack", "NoReadyPods", why)
    if s.wants_another:
        # The candidate's route led to these very pods: who still follows it would find those of the next, which are not ready.
        settling = to.ROUTE_SETTLE - s.since(s.rollout.weight_changed_at)
        if settling > timedelta(0):
            return to.moved(s, f"version {stable.version} serves; letting the route settle", after=settling)
        if occupied := route.occupied(s):
            return _watched(s, occupied, lost)
        return route.followed(s) or not_yet(s) or to.begin(s)
    kept: dict[str, Any] = {"lost_at": lost, "route_awaited_at": None}
    if s.hold:
        return to.moved(s, f"version {stable.version} serves; {s.hold}", **kept)

    if lost:
        waiting = f"version {stable.version} has no ready pod: version {previous.version} is kept"
        return to.moved(s, waiting, after=to.SOON, **kept)
    age = s.since(s.rollout.phase_started_at)
    keep, watch = parse_duration(s.spec.rollout.keep_stable_for), parse_duration(s.spec.rollout.watch_after_promotion)
    if age >= max(keep, watch):
        return to.settled(s, f"version {stable.version} serves")
    next_end = keep if age < keep else watch
    decision = to.moved(s, f"version {stable.version} serves; watching it", after=next_end - age, **kept)
    if age < keep or previous.replicas == 0:
        return decision
    given_back = decision.status.model_copy(update={"previous": previous.model_copy(update={"replicas": 0})})
    return Decision(given_back, decision.requeue_after)


def _watched(s: Situation, waiting: Decision, lost: datetime | None) -> Decision:
    """The watch, while the next rollout waits for the route: it ends in its time all the same, and the wait outlasts it."""
    keep, watch = parse_duration(s.spec.rollout.keep_stable_for), parse_duration(s.spec.rollout.watch_after_promotion)
    rollout, changes = waiting.status.rollout, {"lost_at": lost}
    if not lost and s.since(s.rollout.phase_started_at) >= max(keep, watch):
        waiting, changes = to.settled(s, rollout.message), {"route_awaited_at": rollout.route_awaited_at}
    changed = waiting.status.rollout.model_copy(update=changes)
    return Decision(waiting.status.model_copy(update={"rollout": changed}), to.SOON)


def rolling_back(s: Situation) -> Decision:
    if s.rollout.strategy == "Recreate" and (waiting := recreate.going_back(s)):
        return waiting
    previous = s.status.previous
    if previous is not None:
        ready, failing = s.pods(previous).ready, s.pods(s.status.stable).ready
        is_over = is_overdue(s.md, s.now)
        # What is bad does not stay for want of a part of the others' pods: those that are missing get its room then.
        is_enough_by_now = setbacks.is_bad(s) and (is_over or s.since(s.rollout.back_at) >= setbacks.TOO_FEW)
        if setbacks.are_enough(ready, previous.replicas) or (ready > 0 and (failing == 0 or is_enough_by_now)):
            return setbacks.restore(s, Decision(s.status))
        if ready > 0 and s.analysis and s.analysis.alarm:
            text = f"Only {ready} of {previous.replicas} pods of version {previous.version} are ready, and serve all the same"
            decision = setbacks.restore(s, Decision(s.status))
            return to.with_event(decision, "Warning", "PartlyRestored", f"{text}: {s.analysis.alarm.message}.")
        # Whatever leads to pods of the next rollout must have heard before that its share was taken.
        is_settled = s.route_shows(0) and s.since(s.rollout.weight_changed_at) > to.ROUTE_SETTLE
        if is_over or (s.wants_another and is_settled):
            return setbacks.undo_failed(s)
        return to.moved(s, s.rollout.message, after=to.SOON, back_at=(s.rollout.back_at or s.now) if ready else None)
    if s.is_unled:
        return route.led_back(s)
    if follows := route.followed(s):
        return follows
    stable = s.status.stable
    settling = to.ROUTE_SETTLE - s.since(s.rollout.weight_changed_at)
    endpoints = [s.observed.stable_endpoints, *([] if s.route_shows(0) else [s.observed.candidate_endpoints])]
    elsewhere = {revision for led in endpoints for revision, ready in led.items() if ready}
    elsewhere -= {stable.revision} if stable else set()
    # Pods that go while a Service or route still leads to them cost requests: 200 to 840 when it was measured.
    if settling > timedelta(0) or (elsewhere and not is_overdue(s.md, s.now)):
        return Decision(s.status, max(settling, to.SOON))
    return to.settled(s, f"version {stable.version if stable else ''} serves")
