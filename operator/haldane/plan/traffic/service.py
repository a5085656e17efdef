"""Where the requests go inside the cluster: the stable Service and the candidate's."""

from __future__ import annotations

from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.capacity import has_route
from haldane.plan.pod_template import PORT_NAME

Manifest = dict[str, Any]

SERVICE_PORT = 80


def services(md: ModelDeployment, status: ModelDeploymentStatus) -> list[Manifest]:
    """Both Services. The candidate's selects stable's pods while there is no candidate: an idle route is harmless then."""
    if status.stable is None:
        return []
    name = md.metadata.name
    candidate = (status.candidate or status.stable).revision
    return [
        _service(md, names.stable_service(name), names.selector(name, _serving(md, status, status.stable.revision))),
        _service(md, names.candidate_service(name), names.selector(name, candidate)),
    ]


def _serving(md: ModelDeployment, status: ModelDeploymentStatus, stable: str) -> str | None:
    """The revision behind the stable Service; None for every revision, where pod counts make the candidate's share."""
    weight = status.rollout.weight
    if has_route(md) or status.candidate is None or weight <= 0:
        return stable
    return status.candidate.revision if weight >= 100 else None


def _service(md: ModelDeployment, name: str, selector: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(md, name),
        "spec": {
            "type": "ClusterIP",
            "ports": [{"name": PORT_NAME, "port": SERVICE_PORT, "protocol": "TCP", "targetPort": PORT_NAME}],
            "selector": selector,
        },
    }
