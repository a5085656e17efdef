"""What a candidate must show before it gets its first request: an inquiry at one of its pods, and the verdicts on it.

Three gates: `signature` (clients of stable can go on), `answers` (they are numbers, of the right shape), `latency` (not grossly
slower). A verdict is written into status and stands for the rollout. What could not be asked is Inconclusive, is asked again,
and holds the rollout; what there is nothing to ask of is Skipped, with the reason. Golden requests are the runtime's own to
run, at its start (`diagnosis`); here they are asked once more, through the door that clients will use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from haldane.api.quantity import parse_duration
from haldane.api.status import GateStatus, ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates_signature import Signature, from_text, read
from haldane.plan.observed import Observed
from haldane.plan.rejection import standing_rejection
from haldane.plan.strategy import chosen

NAMES = ("signature", "answers", "latency")
NO_SIGNATURE = "-"
"""In place of a signature in status: the runtime was asked, and tells none."""
SOONEST, LATEST = timedelta(seconds=2), timedelta(seconds=30)
"""Between two tries of what could not be asked: as long as one tries already, within these bounds."""
CUT_OFF = "where the API server cannot reach pods, set gates.enabled: false in the chart's values"
LEAST = timedelta(seconds=30)
"""How long is tried at least before a deadline, which may have been the pods' own, decides without an answer."""


@dataclass(frozen=True)
class Subject:
    """Who is asked, and for the how manieth time: an answer counts for nothing else."""

    candidate: str | None
    """Revision; None when only stable's signature is wanted, before a Recreate takes its pods away."""
    stable: str
    since: datetime | None
    """When the inquiry before this one was; None for the first."""


@dataclass(frozen=True)
class Inquiry:
    """What is to be asked now, of whom."""

    subject: Subject
    namespace: str
    model: str
    pod: str | None
    """A ready pod of the candidate, as `name:port`."""
    stable_pod: str | None
    """A ready pod of stable; None when it has none."""
    stable_signature: Signature | None
    """When it is known already."""
    asks_signature: bool
    requests: tuple[smoke.Request, ...] = field(hash=False, default=())
    """Golden requests; without them they are made up by what the candidate tells of itself."""


@dataclass(frozen=True)
class Told:
    """What a runtime says of itself: exactly one of its signature, why it has none to tell, and why it could not be asked."""

    signature: Signature | None = None
    lacks: str | None = None
    silence: str | None = None


def read_told(code: int, document: Any, problem: str, *, is_cut_off: bool = False) -> Told:
    """What the answer to `GET /v2/models/{model}` tells; `code` 0 when there was none, with the reason in `problem`.

    A runtime that knows no such page, or keeps it shut, will not open it for being asked again. One that `is_cut_off` may be
    so for good, in a cluster whose control plane has no route to the pods' network.
    """
    if code == 200:
        signature = read(document)
        return Told(signature) if signature else Told(lacks="its runtime tells no inputs and outputs of the model")
    if 400 <= code < 500 and code not in (408, 429):
        return Told(lacks=f"its runtime has no model metadata of the Open Inference Protocol (HTTP {code})")
    silence = problem or f"its runtime answered with HTTP {code}"
    return Told(silence=f"{silence}; {CUT_OFF}" if is_cut_off else silence)


@dataclass(frozen=True)
class Findings:
    """The outcome of an inquiry."""

    subject: Subject
    own: Told | None = None
    theirs: Told | None = None
    """None when nobody could be asked."""
    requests: tuple[smoke.Request, ...] = ()
    answers: tuple[smoke.Answer, ...] = ()
    stable_answers: tuple[smoke.Answer, ...] = ()


@dataclass(frozen=True)
class Report:
    """The gates in one pass. In its place None where they are switched off."""

    findings: Findings | None = None


def inquiry(md: ModelDeployment, target: str, observed: Observed, now: datetime) -> Inquiry | None:
    """What to ask now of whom; None when everything is known, nobody can be asked, or it is too early to ask again.

    `target` is the revision that spec asks for.
    """
    status, rollout = md.status, md.status.rollout
    stable, candidate = status.stable, status.candidate
    if stable is None or not _is_due(status, now):
        return None
    since = max((gate.at for gate in rollout.gates), default=None)
    stable_pods = observed.pods(stable.revision).askable
    stable_pod = in_turn(stable_pods, since) if stable_pods else None
    who = (md.metadata.namespace, md.metadata.name)
    known = from_text(stable.signature)
    if wants_stables_first(md, target) and stable_pod:
        return Inquiry(Subject(None, stable.revision, since), *who, None, stable_pod, None, True)
    pods = observed.pods(candidate.revision).askable if candidate else ()
    if candidate is None or not pods or not is_before_traffic(status) or is_closed(status):
        return None
    return Inquiry(
        Subject(candidate.revision, stable.revision, since),
        *who,
        in_turn(pods, since),
        stable_pod,
        known,
        stable.signature != NO_SIGNATURE,
        smoke.golden_requests(md.spec.model.golden) if candidate.revision == target else (),
    )


def is_before_traffic(status: ModelDeploymentStatus) -> bool:
    """Whether the candidate has yet to get its first request."""
    rollout = status.rollout
    return status.candidate is not None and rollout.weight == 0 and rollout.phase in ("Preparing", "Promoting")


def wants_stables_first(md: ModelDeployment, target: str) -> bool:
    """Whether stable's signature has to be read before a rollout begins, because its pods will go first."""
    status = md.status
    stable, phase = status.stable, status.rollout.phase
    return (
        stable is not None
        and stable.signature is None
        and status.candidate is None
        and phase in ("Stable", "Watching")
        and target != stable.revision
        and chosen(md) == "Recreate"
        and not md.spec.rollout.allow_signature_change
        and standing_rejection(md, status, target) is None
    )


def open_gates(status: ModelDeploymentStatus) -> list[GateStatus]:
    """Gates of this rollout that were asked in vain so far; at rest those since it came to rest."""
    rollout = status.rollout
    began = rollout.started_at or rollout.phase_started_at
    return [gate for gate in rollout.gates if gate.verdict == "Inconclusive" and (began is None or gate.since >= began)]


def is_closed(status: ModelDeploymentStatus) -> bool:
    """Whether there is a verdict on every gate."""
    gates = status.rollout.gates
    return bool(gates) and {gate.name for gate in gates} >= set(NAMES) and not open_gates(status)


def has_waited(md: ModelDeployment, now: datetime) -> bool:
    """Whether it was tried for long enough to let a deadline decide."""
    until = tried_until(md)
    return until is not None and now >= until


def tried_until(md: ModelDeployment) -> datetime | None:
    """Until when is tried at least what was asked in vain; None when nothing was."""
    tried = [gate.since for gate in open_gates(md.status)]
    return min(tried) + min(LEAST, parse_duration(md.spec.rollout.progress_deadline)) if tried else None


def refused(status: ModelDeploymentStatus) -> GateStatus | None:
    """The first gate that refuses the candidate."""
    return next((gate for gate in status.rollout.gates if gate.verdict == "Fail"), None)


def next_try(status: ModelDeploymentStatus) -> datetime | None:
    """When what was asked in vain is to be asked again; None when nothing was."""
    tried = open_gates(status)
    if not tried:
        return None
    first, last = min(gate.since for gate in tried), max(gate.at for gate in tried)
    return last + min(LATEST, max(SOONEST, last - first))


def in_turn(pods: Sequence[str], since: datetime | None) -> str:
    """Another pod, sooner or later, when one could not be asked. The tries come at regular times, which must not decide."""
    return pods[crc32(since.isoformat().encode()) % len(pods) if since else 0]


def _is_due(status: ModelDeploymentStatus, now: datetime) -> bool:
    due = next_try(status)
    # A clock that was set back must not silence the gates until it has caught up.
    return due is None or now >= due or now < due - LATEST
