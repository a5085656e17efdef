"""Weights <-> a pair of Ingresses with nginx canary annotations (ingress-nginx, Traefik 3.7 and later)."""

from __future__ import annotations

from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.pod_template import PORT_NAME

Manifest = dict[str, Any]

CANARY = "nginx.ingress.kubernetes.io/canary"
CANARY_BY_HEADER = "nginx.ingress.kubernetes.io/canary-by-header"
CANARY_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


def ingresses(md: ModelDeployment, status: ModelDeploymentStatus) -> list[Manifest]:
    """Both Ingresses; none without `spec.traffic.ingress`.

    The canary's stays when idle, at weight 0: with `canary: "false"` it would be a second owner of the host.
    """
    if md.spec.traffic.ingress is None or status.stable is None:
        return []
    name = md.metadata.name
    canary = {CANARY: "true", CANARY_WEIGHT: str(status.rollout.weight)}
    header = md.spec.traffic.ingress.preview_header
    if header and status.candidate and (status.rollout.phase == "Progressing" or status.rollout.weight > 0):
        # Only then it has ready pods: whoever sends the header all the time loses nothing before and after.
        canary[CANARY_BY_HEADER] = header
    return [
        _ingress(md, names.stable_ingress(name), names.stable_service(name), {}),
        _ingress(md, names.candidate_ingress(name), names.candidate_service(name), canary),
    ]


def carried_weight(ingress: Manifest) -> int | None:
    """The weight that an Ingress on the cluster carries; None when it is no canary route or its weight is no number."""
    annotations = ingress["metadata"].get("annotations", {})
    weight = annotations.get(CANARY_WEIGHT, "")
    if annotations.get(CANARY) != "true" or not weight.isdecimal():
        return None
    return int(weight)


def url(md: ModelDeployment) -> str:
    """Where clients reach the model: the route's host, or the Service inside the cluster."""
    traffic = md.spec.traffic
    if traffic.ingress is None or traffic.host is None:
        return f"http://{names.stable_service(md.metadata.name)}.{md.metadata.namespace}.svc/"
    scheme = "https" if traffic.ingress.tls_secret else "http"
    return f"{scheme}://{traffic.host}{traffic.path}"


def _ingress(md: ModelDeployment, name: str, service: str, canary: dict[str, str]) -> Manifest:
    traffic, ingress = md.spec.traffic, md.spec.traffic.ingress
    backend = {"service": {"name": service, "port": {"name": PORT_NAME}}}
    spec: Manifest = {
        "rules": [
            {
                "host": traffic.host,
                "http": {"paths": [{"path": traffic.path, "pathType": "Prefix", "backend": backend}]},
            }
        ]
    }
    if ingress and ingress.class_name:
        spec["ingressClassName"] = ingress.class_name
    if ingress and ingress.tls_secret:
        spec["tls"] = [{"hosts": [traffic.host], "secretName": ingress.tls_secret}]
    annotations = {**(ingress.annotations if ingress else {}), **canary}
    metadata = names.metadata(md, name)
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}
