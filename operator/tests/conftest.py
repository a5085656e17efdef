"""What every test of the operator may ask for."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from e2e.apiserver.fixtures import (
    apiserver,
    crd_installed,
    kubernetes_client,
    namespace,
    pytest_collection_finish,
    pytest_runtest_makereport,
    repository,
    rest,
    until,
)

__all__ = [
    "apiserver",
    "crd_installed",
    "kubernetes_client",
    "namespace",
    "pytest_collection_finish",
    "pytest_runtest_makereport",
    "repository",
    "rest",
    "until",
]

# The hashes of these three are names of running revisions: what stands in them is not to be changed, only added to as
# another sample.
MINIMAL: dict[str, Any] = {"model": {"uri": "s3://models/fraud/1/", "version": "1"}}

FULL: dict[str, Any] = {
    "model": {
        "uri": "s3://models/fraud/2.1.0/",
        "version": "2.1.0",
        "sha256": "ab" * 32,
        "credentialsSecret": "s3-models",
        "s3": {"endpoint": "http://s3.storage.svc:8333", "region": "eu-central-1"},
    },
    "runtime": {
        "device": "gpu",
        "image": "registry.example.com/haldane/runtime:1.2.3",
        "resources": {"requests": {"cpu": 2}, "limits": {"memory": "8Gi"}},
        "limits": {"queue": 64, "requestTimeout": "1m30s", "requestBytes": "1Mi"},
        "session": {"intraOpThreads": 4},
        "env": [
            {"name": "TZ", "value": "UTC"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}},
        ],
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoExecute"}],
        "serviceAccountName": "fraud-identity",
        "podTemplate": {
            "metadata": {
                "labels": {"team": "risk", "haldane.dev/model": "another"},
                "annotations": {"prometheus.io/scrape": None, "sidecar.istio.io/inject": "false"},
            },
            "spec": {
                "priorityClassName": "serving",
                "notYetKnownToHaldane": {"anything": [1, 2]},
                "imagePullSecrets": [{"name": "registry"}],
                "volumes": [
                    {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}},
                    {"name": "extra", "emptyDir": {"medium": "Memory"}},
                ],
                "containers": [
                    {"name": "tap", "image": "registry.example.com/tap:1"},
                    {
                        "name": "runtime",
                        "livenessProbe": {"exec": {"command": ["true"]}},
                        "env": [{"name": "HALDANE_S3_REGION", "$patch": "delete"}],
                        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                        "resources": {"limits": {"cpu": "4"}},
                    },
                ],
            },
        },
    },
}

TUNED: dict[str, Any] = {
    "model": {
        "uri": "pvc://models/fraud/2.2.0/model.onnx",
        "version": "2.2.0",
        "golden": {
            "requests": [
                {
                    "inputs": [{"name": "amount", "datatype": "FP32", "shape": [1, 2], "data": [[0.5, 12]]}],
                    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["$(HOME)"]}],
                }
            ],
            "tolerance": {"relative": 0.01, "absolute": 1e-06},
        },
    },
    "runtime": {
        "device": "gpu",
        "limits": {"queueBytes": "512Mi", "queueDelay": "250ms"},
        "batching": {"maxBatchSize": 32, "maxDelay": "0.5ms"},
        "session": {
            "providers": ["TensorRT", "CUDA"],
            "intraOpThreads": 2,
            "precision": "fp16",
            "precisionTolerance": "0.5%",
        },
        "grpc": {"enabled": False},
        "responseCache": {"secretRef": {"name": "redis", "key": "address"}, "ttl": "1h"},
        "requestLog": {"sample": "0.07%"},
    },
}


@pytest.fixture(scope="session")
def minimal() -> dict[str, Any]:
    """The least that a spec may hold."""
    return deepcopy(MINIMAL)


@pytest.fixture(scope="session")
def full() -> dict[str, Any]:
    """Everything that a model and its pods may be told by other means than tuning."""
    return deepcopy(FULL)


@pytest.fixture(scope="session")
def tuned() -> dict[str, Any]:
    """Everything that tunes how a model is served."""
    return deepcopy(TUNED)
