"""A revision's pod template: what is generated for the runtime, with the user's `podTemplate` merged over it."""

from __future__ import annotations

import math
from typing import Any

from haldane.api.quantity import parse_bytes, parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.strategic_merge import PodTemplateError, merge

Manifest = dict[str, Any]

CONTAINER = "runtime"
PORT = 8080
PORT_NAME = "http"
CACHE_DIR = "/var/cache/haldane"
TERMINATION_LOG = "/dev/termination-log"
USER = 65532

DRAIN_BEFORE_SIGTERM = 5
"""Seconds between leaving the Services and SIGTERM. Proxies batch their updates (Traefik: 2 s), so requests still arrive
for a while; this sleep, not retries, is what makes the loss zero."""

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
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "env": _environment(md, revision, version),
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
    if md.spec.model.credentials_secret:
        container["envFrom"] = [{"secretRef": {"name": md.spec.model.credentials_secret}}]
    return container


def _environment(md: ModelDeployment, revision: str, version: str) -> list[Manifest]:
    model, runtime = md.spec.model, md.spec.runtime
    s3, limits = model.s3, runtime.limits
    values: dict[str, str | None] = {
        "HALDANE_MODEL_NAME": md.metadata.name,
        "HALDANE_MODEL_NAMESPACE": md.metadata.namespace,
        "HALDANE_REVISION": revision,
        "HALDANE_MODEL_VERSION": version,
        "HALDANE_MODEL_URI": model.uri,
        "HALDANE_MODEL_SHA256": model.sha256,
        "HALDANE_S3_ENDPOINT": s3.endpoint if s3 else None,
        "HALDANE_S3_REGION": s3.region if s3 else None,
        "HALDANE_DEVICE": runtime.device,
        "HALDANE_INTRA_OP_THREADS": _text(runtime.session.intra_op_threads),
        "HALDANE_QUEUE": _text(limits.queue),
        "HALDANE_REQUEST_TIMEOUT": _plain(parse_duration(limits.request_timeout).total_seconds()),
        "HALDANE_REQUEST_BYTES": _text(parse_bytes(limits.request_bytes)),
        "HALDANE_CACHE_DIR": CACHE_DIR,
        "HALDANE_PORT": str(PORT),
        "HALDANE_TERMINATION_LOG": TERMINATION_LOG,
    }
    own = [{"name": name, "value": value} for name, value in values.items() if value is not None]
    return [*own, *(variable.to_wire() for variable in runtime.env)]


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
    """Long enough for the preStop sleep and for the longest request that may be in flight then."""
    longest = math.ceil(parse_duration(md.spec.runtime.limits.request_timeout).total_seconds())
    return max(_GRACE, DRAIN_BEFORE_SIGTERM + longest + 10)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _plain(seconds: float) -> str:
    """Seconds without exponent or trailing zeros: 0.25 -> `0.25`, 10.0 -> `10`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
