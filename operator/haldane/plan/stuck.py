"""A rollout that waits for the route longer than it may: what people are told of it, once and for as long as it lasts."""

from __future__ import annotations

from datetime import datetime

from haldane.api.status import Condition, ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.conditions import STALLED, paragraph
from haldane.plan.deadlines import is_overdue
from haldane.plan.observed import Event, Observed

REASON = "ProgressDeadlineExceeded"

_MEANWHILE = {
    "Promoting": "both versions go on serving meanwhile, and the checks judge; haldane abort takes its share from the new one",
    "RollingBack": "no pod goes meanwhile that requests may reach",
}


def stuck(md: ModelDeployment, status: ModelDeploymentStatus, cause: str | None) -> str:
    """What is waited for, who stands in the way, and what ends it. `cause`: why the last pass could not write, if it could not."""
    name, limit = md.metadata.name, md.spec.rollout.progress_deadline
    written = f"Ingress {names.candidate_ingress(name)} or Service {names.stable_service(name)}"
    elsewhere = (
        f"nothing refuses it just now: see who else writes them (kubectl get ingress {names.candidate_ingress(name)}"
        " --show-managed-fields -o yaml)"
    )
    return paragraph(
        status.rollout.message,
        f"for {limit} the cluster has not taken what the operator writes into {written}",
        f"the last try: {cause}" if cause else elsewhere,
        "it is tried again and again, and goes on by itself",
        _MEANWHILE.get(status.rollout.phase, ""),
    )


def is_unshown(md: ModelDeployment, observed: Observed, now: datetime) -> bool:
    """Whether the candidate's Service has shown none of its ready pods for longer than that may take.

    Once told it is the case until it shows some, though an operator that was away may have begun the deadline's last chance.
    """
    candidate, rollout = md.status.candidate, md.status.rollout
    is_first_share = rollout.phase in ("Preparing", "Promoting") and rollout.weight == 0
    if candidate is None or not is_first_share or not (is_overdue(md, now) or _told(md.status)):
        return False
    shown = observed.candidate_endpoints.get(candidate.revision, 0)
    return shown == 0 and observed.pods(candidate.revision).ready >= max(1, candidate.replicas)


def unshown(md: ModelDeployment, status: ModelDeploymentStatus, cause: str | None) -> str:
    """What is waited for, why, and what ends it. `cause`: why the last pass could not write, if it could not."""
    service = names.candidate_service(md.metadata.name)
    return paragraph(
        status.rollout.message,
        f"for {md.spec.rollout.progress_deadline} the Service has had no endpoint of them",
        cause
        or f"nothing refuses it just now: see what it selects and that its endpoints are made (kubectl describe service {service})",
        "the version is not rejected for it, and goes on by itself",
    )


def stuck_events(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> tuple[Event, ...]:
    """A Warning when the deadline of such a wait, or of a first deployment, has passed since `before`."""
    now = _told(after)
    return () if now is None or _told(before) else (Event("Warning", REASON, now.message),)


def _told(status: ModelDeploymentStatus) -> Condition | None:
    return next((c for c in status.conditions if (c.type, c.status, c.reason) == (STALLED, "True", REASON)), None)
