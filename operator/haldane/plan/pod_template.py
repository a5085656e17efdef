"""A revision's pod template: what is generated for the runtime, with the user's `podTemplate` merged over it."""

from __future__ import annotations

import math
from typing import Any

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.environment import (
    CACHE_DIR,
    GRPC_PORT,
    MODEL_DIR,
    PORT,
    TERMINATION_LOG,
    claim,
    environment,
    grpc_enabled,
)
from haldane.plan.strategic_merge import PodTemplateError, merge

Manifest = dict[str, Any]

CONTAINER = "runtime"
PORT_NAME = "http"
GRPC_PORT_NAME = "grpc"
MODEL_VOLUME = "model"
USER = 65532

DRAIN_BEFORE_SIGTERM = 5
"""Seconds between leaving the Services and SIGTERM. Proxies batch their updates (Traefik: 2 s), so requests still arrive
for a while; this sleep, not retries, is what makes the loss zero. Connections that clients keep are told of the end only
after it, in the runtime's own drain (HALDANE_DRAIN_SECONDS, 1 by default)."""

_GRACE = 60
_START_LIMIT = 3600
_GPU = "nvidia.com/gpu"
_GPU_VENDOR = "nvidia.com/"
# Small, so that a model fits beside others when nothing is asked for; there at all, so that an autoscaler on CPU works.
_DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}


def render(md: ModelDeployment, revision: str, version: str, image: str) -> Manifest:
    """The PodTemplateSpec of a revision. Raises PodTemplateError when the user's `podTemplate` cannot be merged."""
    runtime = md.spec.runtime
    made = _generated(md, revision, version, image)
    if runtime.pod_template:
        made = merge(made, runtime.pod_template, "spec.runtime.podTemplate")
    containers = made.get("spec", {}).get("containers", [])
    if not any(container.get("name") == CONTAINER for container in containers):
        raise PodTemplateError(
            f"spec.runtime.podTemplate takes the container {CONTAINER} away, which serves the model: leave it in"
        )
    # Selectors, metrics and the operator itself find pods by these labels, whatever the user's template says.
    metadata = made.setdefault("metadata", {})
    metadata["labels"] = {**metadata.get("labels", {}), **names.labels(md.metadata.name, revision)}
    return made


def _generated(md: ModelDeployment, revision: str, version: str, image: str) -> Manifest:
    runtime = md.spec.runtime
    spec: Manifest = {
        "serviceAccountName": runtime.service_account_name or names.service_account(md.metadata.name),
        "automountServiceAccountToken": False,
        # A Service named "haldane" would otherwise put HALDANE_PORT=tcp://... into every pod of its namespace.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace_seconds(md),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(md, revision, version, image)],
        "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    if model_claim := claim(md.spec.model):
        volume = {"claimName": model_claim, "readOnly": True}
        spec["volumes"].append({"name": MODEL_VOLUME, "persistentVolumeClaim": volume})
    if runtime.node_selector:
        spec["nodeSelector"] = dict(runtime.node_selector)
    tolerations = list(runtime.tolerations or [])
    if runtime.device == "gpu":
        tolerations.append({"key": _GPU, "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        spec["tolerations"] = tolerations
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        "metadata": {"labels": names.labels(md.metadata.name, revision), "annotations": annotations},
        "spec": spec,
    }


def _container(md: ModelDeployment, revision: str, version: str, image: str) -> Manifest:
    container: Manifest = {
        "name": CONTAINER,
        "image": image,
        "ports": _ports(md),
        "env": environment(md, revision, version),
        "resources": _resources(md),
        # Long enough for a big download, wherever in its start the runtime begins to answer.
        "startupProbe": _probe("/startup", period=1, timeout=3, failures=_START_LIMIT),
        "readinessProbe": _probe("/ready", period=2, timeout=3, failures=3),
        "livenessProbe": _probe("/health", period=10, timeout=5, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_BEFORE_SIGTERM}}},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "cache", "mountPath": CACHE_DIR}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    if claim(md.spec.model):
        container["volumeMounts"].append({"name": MODEL_VOLUME, "mountPath": MODEL_DIR, "readOnly": True})
    if md.spec.model.credentials_secret:
        container["envFrom"] = [{"secretRef": {"name": md.spec.model.credentials_secret}}]
    return container


def _ports(md: ModelDeployment) -> list[Manifest]:
    ports = [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}]
    if grpc_enabled(md):
        ports.append({"name": GRPC_PORT_NAME, "containerPort": GRPC_PORT, "protocol": "TCP"})
    return ports


def _resources(md: ModelDeployment) -> Manifest:
    given = md.spec.runtime.resources
    requests = {key: str(value) for key, value in ((given and given.requests) or {}).items()}
    limits = {key: str(value) for key, value in ((given and given.limits) or {}).items()}
    if md.spec.runtime.device == "gpu" and not any(key.startswith(_GPU_VENDOR) for key in limits):
        limits |= {key: value for key, value in requests.items() if key.startswith(_GPU_VENDOR)} or {_GPU: "1"}
    missing = {key: value for key, value in _DEFAULT_REQUESTS.items() if key not in requests and key not in limits}
    made = {"requests": {**missing, **requests}, "limits": limits}
    return {key: value for key, value in made.items() if value}


def _probe(path: str, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _grace_seconds(md: ModelDeployment) -> int:
    """Long enough for the preStop sleep, for the longest request that may be in flight then, and for the runtime's drain
    and stop, which take 3 s of the last 10."""
    longest = math.ceil(parse_duration(md.spec.runtime.limits.request_timeout).total_seconds())
    return max(_GRACE, DRAIN_BEFORE_SIGTERM + longest + 10)
