"""What the gates decide: to go on, to hold with the reason, or to go back; and what is told of them by Events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from haldane.api.quantity import parse_duration
from haldane.api.status import GateStatus
from haldane.plan import setbacks
from haldane.plan import transitions as to
from haldane.plan.deadlines import deadline, is_overdue
from haldane.plan.gates import (
    LEAST,
    SOONEST,
    has_waited,
    is_closed,
    next_try,
    open_gates,
    refused,
    tried_until,
    wants_stables_first,
)
from haldane.plan.observed import Event, RevisionPods
from haldane.plan.situation import Decision, Situation

REASONS = {"signature": "SignatureChanged", "answers": "BadAnswers", "latency": "TooSlow"}
"""Why a revision is rejected, by gate, as one word."""

UNFIT = frozenset({"GoldenMismatch", "PrecisionLoss"})
"""Why a model was not loaded that loads, but does not answer as it must: no other try gives another answer."""


def unfit(s: Situation, pods: RevisionPods) -> Decision | None:
    """Go back, without waiting for a deadline, when the runtime held the model against its golden requests in vain."""
    if pods.problem is None or pods.problem.reason not in UNFIT:
        return None
    return setbacks.roll_back(s, "RolledBack", pods.problem.reason, pods.problem.message.rstrip("."))


def refusal(s: Situation) -> Decision | None:
    """Go back when a gate has refused the candidate, paused or not."""
    bad = refused(s.status) if s.gates is not None and s.status.candidate else None
    if bad is None:
        return None
    return setbacks.roll_back(s, "RolledBack", REASONS[bad.name], f"refused before any traffic: {bad.message}")


def held(s: Situation) -> Decision | None:
    """Why the candidate, whose pods are ready, gets no traffic yet or never; None when it may have some."""
    if s.gates is None or s.status.candidate is None:
        return None
    version = s.status.candidate.version
    if bad := refusal(s):
        return bad
    if is_closed(s.status):
        return None
    tried = open_gates(s.status)
    why = tried[0].message if tried else f"asking a pod of version {version} before it gets any traffic"
    late = has_waited(s.md, s.now) if tried else is_overdue(s.md, s.now - LEAST)
    # A person who says promote has seen that nothing can be asked, and does not wait for the deadline of the phase.
    is_asked_for = s.rollout.phase == "Promoting"
    choice = "Promote" if is_asked_for else s.spec.rollout.analysis.on_inconclusive
    # After Recreate has taken stable's pods away nobody serves: to hold would be an outage without an end.
    choice = "Rollback" if choice == "Hold" and s.rollout.strategy == "Recreate" else choice
    if late and (is_asked_for or is_overdue(s.md, s.now)):
        if choice == "Promote":
            return _waived(s, tried, why, "the verb promote" if is_asked_for else "onInconclusive")
        if choice == "Rollback":
            return setbacks.roll_back(s, "RolledBack", "Inconclusive", f"undecided before any traffic: {why}")
        why += "; it is asked again and again, and haldane promote goes on without"
    elif until := tried_until(s.md):
        ends = deadline(s.md)
        why += f"; {_outlook(s, choice, until if is_asked_for or ends is None else max(until, ends))}"
    return to.moved(s, f"weight 0%: {why}", after=_wait(s))


def not_yet(s: Situation) -> Decision | None:
    """Why a Recreate does not begin: once stable's pods have gone, nobody can be asked any more what clients expect."""
    if s.gates is None or s.status.stable is None or not wants_stables_first(s.md, s.target.name):
        return None
    tried = open_gates(s.status)
    pods = s.pods(s.status.stable)
    if not pods.askable or _cannot_be_kept(s.rollout.gates):
        return None
    waives = s.spec.rollout.analysis.on_inconclusive == "Promote"
    if waives and tried and s.now - min(g.since for g in tried) > parse_duration(s.spec.rollout.progress_deadline):
        return None
    why = tried[0].message if tried else f"asking version {s.status.stable.version} what it takes, before its pods go"
    way_on = "; with rollout.allowSignatureChange: true it begins without" if tried else ""
    return to.moved(s, f"version {s.target.version} is not rolled out yet: {why}{way_on}", after=_wait(s))


def told(before: Iterable[GateStatus], after: Iterable[GateStatus]) -> Iterator[Event]:
    """An Event for each gate that newly holds, or that was passed over."""
    known = {(gate.name, gate.verdict, gate.message) for gate in before}
    for gate in after:
        if (gate.name, gate.verdict, gate.message) in known:
            continue
        if gate.verdict == "Inconclusive":
            yield Event("Warning", "GateUndecided", f"Before any traffic, {gate.name}: {gate.message}.")
        elif gate.verdict == "Skipped":
            yield Event("Normal", "GateSkipped", f"Before any traffic, {gate.name}: {gate.message}.")


def _waived(s: Situation, tried: list[GateStatus], why: str, by: str) -> Decision:
    """Go on without the answers: the gates are closed, so that nothing holds here again."""
    names = {gate.name for gate in tried}
    kept = [gate for gate in s.rollout.gates if gate.name not in names]
    waived = [
        gate.model_copy(update={"verdict": "Skipped", "message": f"{gate.message}; went on without it, as {by} asks"})
        for gate in tried or _unasked(s, why)
    ]
    message = f"weight 0%: going on without an answer, as {by} asks"
    lacks = s.rollout.waived or f"went on without an answer before its first request, as {by} asks"
    decision = to.moved(s, message, after=to.SOON, gates=[*kept, *waived], waived=lacks)
    return to.with_event(decision, "Warning", "PromotedUndecided", f"Going on without proof, as {by} asks: {why}.")


def _unasked(s: Situation, why: str) -> list[GateStatus]:
    return [GateStatus(name=name, verdict="Inconclusive", message=why, since=s.now, at=s.now) for name in REASONS]


def _cannot_be_kept(gates: Iterable[GateStatus]) -> bool:
    return any(gate.name == "signature" and gate.verdict == "Skipped" for gate in gates)


def _outlook(s: Situation, choice: str, at: datetime) -> str:
    """What becomes of a candidate that cannot be asked."""
    by = "haldane promote" if s.rollout.phase == "Promoting" else f"onInconclusive: {choice}"
    if s.rollout.strategy == "Recreate" and s.spec.rollout.analysis.on_inconclusive == "Hold":
        by = "nobody else serves"
    return {
        "Hold": f"it is asked again and again, after {at:%H:%M:%S} UTC too; haldane promote goes on without",
        "Promote": f"it goes on without at {at:%H:%M:%S} UTC ({by})",
        "Rollback": f"it is rolled back at {at:%H:%M:%S} UTC ({by})",
    }[choice]


def _wait(s: Situation) -> timedelta:
    due = next_try(s.status)
    return max(timedelta(milliseconds=100), due - s.now) if due else SOONEST
