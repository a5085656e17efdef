"""The one app of all controllers: the Haldane runtime with a model that fails, or waits, as a case asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bench.rivals import models
from e2e.harness.models import ACCESS_KEY, BUCKET, SECRET_KEY
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import pod_template

Manifest = dict[str, Any]

NAME: Final = "app"
SECRET: Final = "s3-models"
LABEL: Final = "bench.haldane.dev/rivals"
"""On every namespace of a run, so that those of an interrupted one are found."""

OLD: Final = "old"
NEW: Final = "new"
REPLICAS: Final = 2
CLASS: Final = "nginx"
WEIGHTS: Final = (5, 25, 50)
HOLD_SECONDS: Final = 30
ERRORS: Final = 2
"""Highest error rate in per cent, for all controllers."""
SLOW_MS: Final = 300
"""Highest p99 in milliseconds, for all controllers."""
P99: Final[Manifest] = {"name": "p99", "latency": {"quantile": "0.99", "max": f"{SLOW_MS}ms"}}
DEADLINE_SECONDS: Final = 60
"""How long a candidate may take until its pods are ready, for all controllers."""


@dataclass(frozen=True)
class Version:
    """One version of the app: how many per cent of the requests fail, and how long a batch waits for company, in milliseconds."""

    name: str
    errors: float = 0.0
    delay: int = 0
    broken: bool = False
    """No model at all: its pods can never be ready."""

    @property
    def uri(self) -> str:
        file = "broken" if self.broken else models.name(self.errors)
        return f"s3://{BUCKET}/digits/{file}/model.onnx"


def host(namespace: str) -> str:
    """The name that the clients ask the ingress for."""
    return f"{namespace}.example.com"


def ground(namespace: str) -> list[Manifest]:
    """The namespace with the key to the model store."""
    key = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {LABEL: "yes"}}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": key,
        },
    ]


def model_deployment(namespace: str, version: Version, rollout: Manifest) -> Manifest:
    """The ModelDeployment of a version."""
    runtime: Manifest = {
        "resources": {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "384Mi"}},
        "session": {"intraOpThreads": 1},
    }
    if version.delay:
        runtime["batching"] = {"maxBatchSize": 64, "maxDelay": f"{version.delay}ms"}
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "model": {
                "uri": version.uri,
                "version": version.name,
                "credentialsSecret": SECRET,
                "s3": {"endpoint": "http://s3.storage.svc:8333"},
            },
            "runtime": runtime,
            "scaling": {"minReplicas": REPLICAS},
            "traffic": {"host": host(namespace), "ingress": {"className": CLASS}},
            "rollout": rollout,
        },
    }


def template(namespace: str, version: Version, image: str) -> Manifest:
    """The same pods without Haldane's operator: its own pod template, as a person would write it into a Deployment.

    Two things differ. The labels are the app's, and the wait before the end is a command: Flagger knows no `preStop.sleep`
    and drops it from the template that it copies, so that its primary would never start.
    """
    body = model_deployment(namespace, version, {})
    body["metadata"] |= {"uid": "none", "generation": 1}
    made = pod_template.render(ModelDeployment.from_wire(body), version.name, version.name, image)
    made["metadata"]["labels"] = {"app": NAME}
    spec = made["spec"]
    del spec["serviceAccountName"]
    (container,) = spec["containers"]
    wait = ["sleep", str(pod_template.DRAIN_BEFORE_SIGTERM)]
    container["lifecycle"] = {"preStop": {"exec": {"command": wait}}}
    return dict(made)
