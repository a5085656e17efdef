"""What the scenarios apply: a small model with a rollout of seconds."""

from __future__ import annotations

import copy
from typing import Any, Final

from e2e.harness.models import ACCESS_KEY, BUCKET, SECRET_KEY

Manifest = dict[str, Any]

NAME: Final = "digits"
SECRET: Final = "s3-models"
SCENARIO_LABEL: Final = "e2e.haldane.dev/scenario"
"""On every namespace of a scenario, so that those of an interrupted run are found."""

# A tenth of what the examples ask for: a dozen pods share two cores, and most of them are idle.
_SPEC: Final[Manifest] = {
    "model": {"credentialsSecret": SECRET, "s3": {"endpoint": "http://s3.storage.svc:8333"}},
    "runtime": {
        "resources": {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "384Mi"}},
        "session": {"intraOpThreads": 1},
    },
    "scaling": {"minReplicas": 1},
    "traffic": {"ingress": {"className": "nginx"}},
    "rollout": {
        "steps": [{"weight": 20, "hold": "5s"}, {"weight": 50, "hold": "5s"}],
        "analysis": {"interval": "2s", "window": "10s", "warmup": "2s", "minRequests": 20},
        # A limit that a few dozen requests can tell from five times as much: a last step goes on until then.
        "checks": [{"name": "errors", "errorRate": {"max": "5%", "abort": "20%"}}],
        "progressDeadline": "60s",
        "keepStableFor": "5s",
        "watchAfterPromotion": "5s",
    },
}


def host(scenario: str) -> str:
    """The name that the scenario's clients ask the ingress for."""
    return f"{scenario}.example.com"


def ground(namespace: str, scenario: str) -> list[Manifest]:
    """The scenario's namespace with the key to the model store."""
    key = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    labels = {SCENARIO_LABEL: scenario, "pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": key,
        },
    ]


def deployment(namespace: str, scenario: str, version: str, changes: Manifest | None = None) -> Manifest:
    """A ModelDeployment that asks for one of the examples' versions; `changes` to its spec are merged in."""
    spec = merged(
        _SPEC,
        {
            "model": {"uri": f"s3://{BUCKET}/digits/{version}/model.onnx", "version": version},
            "traffic": {"host": host(scenario)},
        },
    )
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": merged(spec, changes or {}),
    }


def merged(base: Manifest, changes: Manifest) -> Manifest:
    """A copy of `base` with `changes`: objects are merged, anything else is replaced, None takes a field away."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
