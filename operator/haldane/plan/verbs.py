"""What people ask of a rollout by annotations: approve, pause, abort, promote. Only read, never written.

A value is acted on once: status remembers it for as long as the annotation carries it, so that a tool that applies the same
manifest again and again asks for nothing new. Each new value is answered at once, by an Event: none lies in wait for a
rollout that its author did not have in mind. `pause` lasts for as long as it stands. What `retry` lifts is in `rejection`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from haldane.plan import setbacks
from haldane.plan import transitions as to
from haldane.plan.annotations import Verb, asked, author, by, paused
from haldane.plan.observed import Event
from haldane.plan.rejection import is_tried, lifted, may_be_lifted
from haldane.plan.situation import Decision, Situation


@dataclass(frozen=True)
class Heard:
    """The verbs of one pass."""

    situation: Situation
    """With what was asked for written into its status."""
    decision: Decision | None = None
    """What a verb alone decides; None when the phase decides."""
    events: tuple[Event, ...] = ()


def hear(s: Situation) -> Heard:
    """Act on what is asked for and was not before. Of abort and promote together, abort counts."""
    known = s.status.verbs or {}
    new: dict[Verb, str] = {verb: value for verb in _VERBS if (value := asked(s.md, verb)) and value != known.get(verb)}
    gone: list[str] = [verb for verb in _VERBS if verb in known and not asked(s.md, verb)]
    gone += [_WAITS] if _WAITS in known and not asked(s.md, "abort") else []
    if not new and not gone:
        return Heard(s)
    events: list[Event] = []
    rollout = s.rollout
    if "pause" in new:
        events.append(Event("Normal", "Paused", _sentence(paused(s.md) or "")))
    if "pause" in gone:
        # What was held has had no fair chance meanwhile: its deadlines, and the watch, begin anew.
        anew = {"phase_started_at": s.now, "asked_anew_at": None, "lost_at": None, "last_chances": None}
        rollout = rollout.model_copy(update=anew if rollout.phase in _HELD else {})
        events.append(Event("Normal", "Resumed", f"Resumed{by(s.md, 'pause')}: rollouts go on."))
    if "approve" in new:
        approved, event = _approve(s)
        rollout = rollout.model_copy(update={"approved": approved} if approved else {})
        events.append(event)
    rejected = s.status.rejected
    if "retry" in new:
        is_meant = may_be_lifted(s.status, s.target.name)
        rejected = lifted(rejected, new["retry"], s.target.name if is_meant else None)
        if not is_meant:
            why = "is being rolled out" if is_tried(s.status, s.target.name) else "is not among the rejected"
            text = f"Nothing to retry{by(s.md, 'retry')}: version {s.target.version} {why}."
            events.append(Event("Normal", "NothingToRetry", text))
    verbs = {verb: value for verb, value in known.items() if verb not in (*gone, _WAITS)} | new
    heard = _with(s, verbs=verbs or None, rollout=rollout, rejected=rejected)
    decision: Decision | None = None
    if "abort" in new:
        decision = _abort(heard)
        if decision and decision.status.rollout.phase != "RollingBack":
            # It stays to be done: as soon as there is a pod that takes the requests.
            waiting = {verb: value for verb, value in verbs.items() if verb != "abort"} | {_WAITS: new["abort"]}
            decision = replace(decision, status=decision.status.model_copy(update={"verbs": waiting}))
            if known.get(_WAITS) != new["abort"]:
                why = decision.status.rollout.message
                events.append(Event("Normal", "AbortWaits", f"The abort{by(s.md, 'abort')} waits: {why}."))
        if decision is None:
            events.append(
                Event("Normal", "NothingToAbort", f"Nothing to abort{by(s.md, 'abort')}: no rollout is under way.")
            )
    if "promote" in new:
        promoted = None if decision else _promote(heard)
        decision = decision or promoted
        if promoted is None:
            why = "the rollout is aborted" if decision else "no candidate is waiting"
            events.append(Event("Normal", "NothingToPromote", f"Nothing to promote{by(s.md, 'promote')}: {why}."))
    return Heard(heard, decision, tuple(events))


_VERBS: tuple[Verb, ...] = ("pause", "approve", "abort", "promote", "retry")
_WAITS = "abort-waits"
"""Where status remembers an abort that it has told of and that has yet to be done."""
ANSWERS = frozenset(
    {
        *("Paused", "Resumed", "Approved", "AbortWaits", "Aborted", "PromotedNow", "Retried"),
        *("NothingToApprove", "NothingToAbort", "NothingToPromote", "NothingToRetry"),
    }
)
"""Reasons of Events by which a person is answered."""
_HELD = ("Preparing", "Progressing", "Promoting", "Watching")


def answering(event: Event) -> Event:
    """The Event; an answer is told each time, however soon the same is asked again."""
    return replace(event, is_answer=event.reason in ANSWERS)


def _approve(s: Situation) -> tuple[str | None, Event]:
    name = by(s.md, "approve")
    if s.rollout.phase != "Progressing" or not s.step.approval or s.rollout.approved:
        return None, Event("Normal", "NothingToApprove", f"Nothing to approve{name}: no step waits for it.")
    version = s.status.candidate.version if s.status.candidate else ""
    text = f"Step {s.step_index + 1} (weight {s.step.weight}%) of version {version} is approved{name}."
    return author(s.md, "approve") or "unknown", Event("Normal", "Approved", text)


def _may_be_undone(s: Situation) -> bool:
    return s.rollout.phase in _HELD and (s.status.candidate is not None or s.status.previous is not None)


def _abort(s: Situation) -> Decision | None:
    if not _may_be_undone(s):
        return None
    why = f"aborted{by(s.md, 'abort')}"
    if s.status.candidate:
        return setbacks.roll_back(s, "Aborted", "Aborted", why)
    return setbacks.undo(s, "Aborted", "Aborted", why)


def _promote(s: Situation) -> Decision | None:
    candidate = s.status.candidate
    is_open = s.rollout.phase in ("Preparing", "Progressing") and s.rollout.strategy != "Recreate"
    if not is_open or candidate is None or candidate.revision != s.target.name:
        return None
    waived = f"{to.PROMOTED_NOW}{by(s.md, 'promote')} at weight {s.rollout.weight}%, before it had passed every step"
    decision = to.promote(s, "promoted now, whatever its steps say: preparing the promotion", waived)
    return to.with_event(decision, "Normal", "PromotedNow", f"Version {candidate.version} {waived}.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _with(s: Situation, **changes: Any) -> Situation:
    return replace(s, md=s.md.model_copy(update={"status": s.status.model_copy(update=changes)}))
