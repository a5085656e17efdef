"""A rollout that waits for the route longer than it may: what people are told of it, once and for as long as it lasts."""

from __future__ import annotations

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.conditions import STALLED, paragraph
from haldane.plan.observed import Event

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


def stuck_events(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> tuple[Event, ...]:
    """A Warning when the deadline of such a wait, or of a first deployment, has passed since `before`."""
    told = any((c.type, c.status, c.reason) == (STALLED, "True", REASON) for c in before.conditions)
    now = next((c for c in after.conditions if (c.type, c.status, c.reason) == (STALLED, "True", REASON)), None)
    return () if told or now is None else (Event("Warning", REASON, now.message),)
