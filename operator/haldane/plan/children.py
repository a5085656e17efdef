"""Everything that should exist for one ModelDeployment: a pure function of its spec, its status and its revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haldane.api.status import ModelDeploymentStatus, RevisionStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import scaling, workload
from haldane.plan.capacity import autoscaled, wanted_pods
from haldane.plan.reading import KEPT
from haldane.plan.revision import Revision, to_controller_revision
from haldane.plan.traffic.ingress import ingresses
from haldane.plan.traffic.service import services

Manifest = dict[str, Any]

KEPT_REVISIONS = 10
"""ControllerRevisions that stay beside those in use, newest first."""


@dataclass(frozen=True)
class Child:
    """One object that should exist."""

    manifest: Manifest
    replicas: int | None = None
    """Of a Deployment: what to create it with and, unless `autoscaled`, what to keep it at. None for every other kind."""
    autoscaled: bool = False
    """Whether an autoscaler owns the replicas of this Deployment: then they are never written again."""


def children(
    md: ModelDeployment, status: ModelDeploymentStatus, revisions: Mapping[str, Revision], kept: str | None = None
) -> list[Child]:
    """The children, in the order in which they are safe to apply; whatever else the object owns is to be pruned.

    `revisions` is `revision.known_revisions(...)`. A revision in status that is not among them (its object was never
    written before the operator stopped) has no pods to speak of and is left out until status moves on. `kept` is what
    the ControllerRevisions of stable and of the one before keep of the spec (see `reading`).
    """
    wanted = wanted_pods(status)
    deployed = [
        (state, revisions[state.revision])
        for state in (status.stable, status.candidate, status.previous)
        if state is not None and state.revision in revisions and state.revision in wanted
    ]
    made = [*_controller_revisions(md, status, revisions, kept)]
    if not md.spec.runtime.service_account_name or _needs_service_account(md, deployed):
        made.append(Child(workload.service_account(md)))
    # An autoscaler leaves a Deployment alone that has no pods, and would fight over one that is to have none.
    owned = autoscaled(md, status)
    for state, revision in deployed:
        made.append(Child(workload.deployment(md, revision), wanted[state.revision], state.revision in owned))
    made.extend(Child(workload.disruption_budget(md, revision)) for _, revision in deployed)
    made.extend(Child(scaling.autoscaler(md, name, least)) for name, least in owned.items() if name in revisions)
    made.extend(Child(service) for service in services(md, status, revisions))
    made.extend(Child(ingress) for ingress in ingresses(md, status))
    return made


def _controller_revisions(
    md: ModelDeployment, status: ModelDeploymentStatus, revisions: Mapping[str, Revision], spec: str | None
) -> list[Child]:
    used = {state.revision for state in (status.stable, status.candidate, status.previous) if state}
    idle = sorted((r for r in revisions.values() if r.name not in used), key=lambda r: r.number, reverse=True)
    kept = [*(r for r in revisions.values() if r.name in used), *idle[:KEPT_REVISIONS]]
    made = {r.name: to_controller_revision(md, r, r.number) for r in sorted(kept, key=lambda r: r.number)}
    # The one before keeps it, too: its object is written first, and that of the new stable may be refused.
    for state in (status.stable, status.previous) if spec else ():
        if state and state.revision in made:
            made[state.revision]["metadata"]["annotations"] = {KEPT: spec}
    return [Child(manifest) for manifest in made.values()]


def _needs_service_account(md: ModelDeployment, deployed: list[tuple[RevisionStatus, Revision]]) -> bool:
    """Whether a revision from before the user named a ServiceAccount still runs under the one that was made for it."""
    own = workload.service_account(md)["metadata"]["name"]
    return any(revision.template["spec"].get("serviceAccountName") == own for _, revision in deployed)
