"""What the decisions come to, as a person, `kubectl wait`, Argo CD and Flux read it: conditions, counts, the URL.

The rules are kstatus': Ready and Available stand always, Reconciling and Stalled only while they hold and never both,
and `observedGeneration` is the object's own generation. Suspended is Haldane's own addition: it stands while a person is awaited.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from haldane.api.status import Condition, ModelDeploymentStatus, Rejected, RevisionStatus
from haldane.api.v1alpha1 import RETRY_ANNOTATION, ModelDeployment
from haldane.plan import names
from haldane.plan.annotations import awaits_approval, paused
from haldane.plan.conditions import (
    AVAILABLE,
    READY,
    RECONCILING,
    STALLED,
    SUSPENDED,
    Claim,
    paragraph,
    sentence,
    settle,
)
from haldane.plan.deadlines import is_overdue, is_stuck
from haldane.plan.diagnosis import PASSING
from haldane.plan.observed import Event, Observed
from haldane.plan.reading import faults
from haldane.plan.rehearsal import doubtful
from haldane.plan.rejection import standing_rejection
from haldane.plan.revision import revision_hash
from haldane.plan.stuck import REASON as OVERDUE
from haldane.plan.stuck import is_unshown, stuck, unshown
from haldane.plan.traffic.ingress import url
from haldane.plan.undecided import undecided

Manifest = dict[str, Any]


def compose(
    md: ModelDeployment,
    decided: ModelDeploymentStatus,
    observed: Observed,
    now: datetime,
    refusal: str | None = None,
    flaw: str | None = None,
    doubts: Sequence[str] | None = None,
    failure: str | None = None,
) -> ModelDeploymentStatus:
    """The status to write: what was decided, with everything filled in that only has to be shown.

    `refusal` is why the API server refuses a child that the spec asks for, when it does; `flaw` is why no revision can be
    made of the spec, so that the decision was for one that was there before. Either stalls the object. `doubts` are why its
    checks cannot be decided, None while nobody knows. `failure` is why the last pass failed: it may pass, and is told of what
    waits for too long.
    """
    stable = decided.stable
    shown = decided.model_copy(
        update={
            "observed_generation": md.metadata.generation,
            "url": url(md),
            "replicas": observed.pods(stable.revision).replicas if stable else 0,
            "selector": _selector(md, stable) if stable else None,
            "stable": _counted(stable, observed),
            "candidate": _counted(decided.candidate, observed),
            "previous": _counted(decided.previous, observed),
        }
    )
    claims = _claims(md, shown, observed, now, refusal, flaw, failure)
    suspension = _suspension(md, shown)
    claims += [claim for claim in (suspension, doubtful(md, doubts)) if claim]
    conditions = settle(claims, md.status.conditions, md.metadata.generation, now)
    return shown.model_copy(update={"conditions": conditions})


def invalid(body: Manifest, error: ValueError, now: datetime) -> Manifest:
    """The status, as JSON, of an object whose spec cannot be used; whatever else its status holds stays as it is.

    `error` is pydantic's ValidationError or tells it in words. What served before goes on serving: the record of it
    is why the rest of status must survive, also when this version cannot read it.
    """
    status: Manifest = body.get("status") or {}
    generation = body["metadata"]["generation"]
    message = paragraph(
        f"the spec cannot be used: {faults(error) if isinstance(error, ValidationError) else error}",
        "correct it",
        "what served before goes on serving",
    )
    before = _readable(status.get("conditions") or [])
    claims = [Claim(READY, False, "InvalidSpec", message), Claim(STALLED, True, "InvalidSpec", message)]
    available = next((c for c in before if c.type == AVAILABLE), None)
    reason, told = (available.reason, available.message) if available else ("NeverDeployed", "Nothing serves yet.")
    claims.insert(1, Claim(AVAILABLE, available is not None and available.status == "True", reason, told))
    conditions = [condition.to_wire() for condition in settle(claims, before, generation, now)]
    return {**status, "observedGeneration": generation, "conditions": conditions}


def problem_events(
    previous: ModelDeploymentStatus, decided: ModelDeploymentStatus, observed: Observed
) -> tuple[Event, ...]:
    """A Warning for each problem of the pods that the conditions written before do not speak of yet."""
    told = " ".join(condition.message for condition in previous.conditions)
    events = []
    for revision in (decided.stable, decided.candidate):
        problem = observed.pods(revision.revision).problem if revision else None
        text = _problem(revision, observed)
        if problem and text not in told and problem.reason not in PASSING:
            events.append(Event("Warning", problem.reason, text))
    return tuple(events)


def _selector(md: ModelDeployment, stable: RevisionStatus) -> str:
    wanted = names.selector(md.metadata.name, stable.revision)
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def _counted(revision: RevisionStatus | None, observed: Observed) -> RevisionStatus | None:
    if revision is None:
        return None
    return revision.model_copy(update={"ready_replicas": observed.pods(revision.revision).ready})


def _claims(
    md: ModelDeployment,
    status: ModelDeploymentStatus,
    observed: Observed,
    now: datetime,
    refusal: str | None,
    flaw: str | None,
    failure: str | None,
) -> list[Claim]:
    stable, phase = status.stable, status.rollout.phase
    problems = [_problem(status.stable, observed), _problem(status.candidate, observed)]
    serving = _serving(stable)
    available = Claim(
        AVAILABLE,
        stable is not None and stable.ready_replicas > 0,
        "Serving" if stable and stable.ready_replicas else "NoReadyPods",
        paragraph(serving, problems[0]),
    )
    if flaw:
        message = paragraph(
            f"the spec cannot be used: {flaw}",
            "correct it",
            f"meanwhile the cluster refuses a part of what was asked for before: {refusal}" if refusal else "",
            *problems,
            status.rollout.message if phase != "Stable" else "",
            serving,
        )
        return [Claim(READY, False, "InvalidSpec", message), available, Claim(STALLED, True, "InvalidSpec", message)]
    if is_stuck(md.model_copy(update={"status": status}), observed, now):
        message = paragraph(stuck(md, status, refusal or failure), *problems, serving)
        return [Claim(READY, False, OVERDUE, message), available, Claim(STALLED, True, OVERDUE, message)]
    if is_unshown(md.model_copy(update={"status": status}), observed, now):
        message = paragraph(unshown(md, status, refusal or failure), serving)
        return [Claim(READY, False, OVERDUE, message), available, Claim(STALLED, True, OVERDUE, message)]
    wanted = revision_hash(md)
    rejected = standing_rejection(md, status, wanted)
    if refusal:
        message = paragraph(
            f"the cluster refuses what the spec asks for: {refusal}",
            "correct the spec, or what the message names",
            *problems,
            status.rollout.message if phase != "Stable" else "",
            serving,
        )
        return [Claim(READY, False, "Refused", message), available, Claim(STALLED, True, "Refused", message)]
    serves_rejected = rejected is not None and stable is not None and stable.revision == wanted
    if rejected and serves_rejected and status.previous is None:
        message = paragraph(
            serving,
            f"it was to go, and stays for want of another that can serve: {_evidence(status, rejected)}",
            f"correct the spec, or set the annotation {RETRY_ANNOTATION} to a new value to keep it as it is",
            *problems,
        )
        return [Claim(READY, False, "UndoFailed", message), available, Claim(STALLED, True, "UndoFailed", message)]
    if rejected:
        against = f"version {rejected.version} was rolled back: {_evidence(status, rejected)}"
        if serves_rejected:
            is_told = rejected.message in status.rollout.message
            against = "" if is_told else f"version {rejected.version} is to go: {_evidence(status, rejected)}"
        message = paragraph(
            status.rollout.message if serves_rejected else "",
            against,
            serving,
            "correct spec.model or spec.runtime, or, to try the same again, also by other rules of spec.rollout, set the "
            f"annotation {RETRY_ANNOTATION} to a new value",
            *problems,
        )
        return [Claim(READY, False, "RolledBack", message), available, Claim(STALLED, True, "RolledBack", message)]
    if phase == "Initializing" and is_overdue(md.model_copy(update={"status": status}), now):
        late = f"{_pods(stable)} after {md.spec.rollout.progress_deadline}, and still awaited"
        message = paragraph(late, *problems)
        return [Claim(READY, False, OVERDUE, message), available, Claim(STALLED, True, OVERDUE, message)]
    if phase not in ("Stable", "Watching") or stable is None or stable.revision != wanted:
        doing = status.rollout.message or f"a rollout to revision {wanted} begins"
        meanwhile = "" if phase == "Initializing" else serving
        message = paragraph(doing, *problems, undecided(md, status), meanwhile)
        suspension = _suspension(md, status)
        # A rollout that goes back does so however much was paused.
        reason = suspension.reason if suspension and phase != "RollingBack" else "Progressing"
        return [Claim(READY, False, reason, message), available, Claim(RECONCILING, True, reason, message)]

    watching = status.rollout.message if phase == "Watching" else ""
    message = paragraph(serving, watching, *problems, undecided(md, status))
    ready = Claim(READY, available.holds, "Serving" if available.holds else "NoReadyPods", message)
    # Only up to minReplicas: an autoscaler at work is no reason to call the whole object unfinished.
    if stable.ready_replicas < md.spec.scaling.min_replicas:
        return [ready, available, Claim(RECONCILING, True, "PodsNotReady", paragraph(_pods(stable), problems[0]))]
    return [ready, available]


def _suspension(md: ModelDeployment, status: ModelDeploymentStatus) -> Claim | None:
    """What a person holds up, or has to say, before a rollout goes on; None when it is nobody's turn."""
    pause, rollout = paused(md), status.rollout
    if pause:
        return Claim(SUSPENDED, True, "Paused", sentence(f"rollouts are {pause}"))
    if rollout.phase == "Progressing" and rollout.message == awaits_approval(md, rollout):
        return Claim(SUSPENDED, True, "WaitingForApproval", sentence(rollout.message))
    return None


def _evidence(status: ModelDeploymentStatus, rejected: Rejected) -> str:
    """Why it was rolled back, with the figures of the check that did it."""
    failed = next((c for c in status.rollout.checks if c.verdict == "Fail" and c.message in rejected.message), None)
    if failed is None:
        return rejected.message
    figures = {"value": failed.value, "stable": failed.baseline, "limit": failed.limit, "requests": failed.requests}
    return (
        f"{rejected.message} ({', '.join(f'{name} {value}' for name, value in figures.items() if value is not None)})"
    )


def _serving(stable: RevisionStatus | None) -> str:
    if stable is None or stable.ready_replicas == 0:
        return _pods(stable)
    if stable.ready_replicas < stable.replicas:
        return f"version {stable.version} serves, {stable.ready_replicas} of its {stable.replicas} pods are ready"
    return f"version {stable.version} serves with {stable.ready_replicas} ready pod{'s' * (stable.ready_replicas > 1)}"


def _pods(revision: RevisionStatus | None) -> str:
    if revision is None:
        return "no revision is deployed yet"
    return f"{revision.ready_replicas} of {revision.replicas} pods of version {revision.version} are ready"


def _problem(revision: RevisionStatus | None, observed: Observed) -> str:
    """The problem of a revision's pods as a sentence; empty when they have none."""
    problem = observed.pods(revision.revision).problem if revision else None
    if revision is None or problem is None:
        return ""
    if problem.reason in PASSING:
        return sentence(f"version {revision.version}: {problem.message}")
    return sentence(f"version {revision.version} is held up ({problem.reason}): {problem.message}")


def _readable(conditions: list[Manifest]) -> list[Condition]:
    found = []
    for condition in conditions:
        try:
            found.append(Condition.model_validate(condition))
        except ValidationError:
            continue
    return found
