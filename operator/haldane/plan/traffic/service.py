"""Where the requests go inside the cluster: the stable Service and the candidate's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.capacity import has_route
from haldane.plan.environment import GRPC_PORT
from haldane.plan.pod_template import CONTAINER, GRPC_PORT_NAME, PORT_NAME
from haldane.plan.revision import Revision

Manifest = dict[str, Any]

SERVICE_PORT = 80
_HTTP = {"name": PORT_NAME, "port": SERVICE_PORT, "protocol": "TCP", "targetPort": PORT_NAME}
# The application protocol is what lets proxies and meshes speak HTTP/2 without TLS to the pods.
_GRPC = {
    "name": GRPC_PORT_NAME,
    "port": GRPC_PORT,
    "protocol": "TCP",
    "targetPort": GRPC_PORT_NAME,
    "appProtocol": "kubernetes.io/h2c",
}


def services(md: ModelDeployment, status: ModelDeploymentStatus, revisions: Mapping[str, Revision]) -> list[Manifest]:
    """Both Services. The candidate's selects stable's pods while there is no candidate: an idle route is harmless then.

    So it does on the way back where the route does not follow: a bad candidate loses its share by the Service then.

    Both have a port for gRPC while a revision behind them has one: revisions that were rendered before there was any, or
    with `spec.runtime.grpc.enabled: false`, have none.
    """
    if status.stable is None:
        return []
    name = md.metadata.name
    candidate = (status.candidate or status.stable).revision
    behind = (revisions.get(revision) for revision in (status.stable.revision, candidate))
    ports = [_HTTP, _GRPC] if any(revision and _has_grpc(revision) for revision in behind) else [_HTTP]
    stable = names.selector(name, _serving(md, status, status.stable.revision))
    return [
        _service(md, names.stable_service(name), stable, ports),
        _service(md, names.candidate_service(name), names.selector(name, behind_candidate(status)), ports),
    ]


def behind_candidate(status: ModelDeploymentStatus) -> str:
    """The revision behind the candidate Service, for a status with a stable revision."""
    leads = status.stable if status.candidate is None or status.rollout.led_back_at else status.candidate
    return leads.revision if leads else ""


def _has_grpc(revision: Revision) -> bool:
    return any(
        port.get("name") == GRPC_PORT_NAME
        for container in revision.template["spec"]["containers"]
        if container["name"] == CONTAINER
        for port in container.get("ports", [])
    )


def _serving(md: ModelDeployment, status: ModelDeploymentStatus, stable: str) -> str | None:
    """The revision behind the stable Service; None for every revision, where pod counts make the candidate's share."""
    weight = status.rollout.weight
    if has_route(md) or status.candidate is None or weight <= 0:
        return stable
    return status.candidate.revision if weight >= 100 else None


def _service(md: ModelDeployment, name: str, selector: dict[str, str], ports: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(md, name),
        "spec": {"type": "ClusterIP", "ports": [dict(port) for port in ports], "selector": selector},
    }
