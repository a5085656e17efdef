"""What is written well is accepted, completed with its defaults, and read back as it was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.revision import revision_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.apiserver.rest import Body, Rest
    from e2e.apiserver.server import ApiServer

pytestmark = pytest.mark.api

DEFAULTS: dict[str, Any] = {
    "model": {"uri": "s3://models/fraud"},
    "runtime": {
        "device": "cpu",
        "limits": {"queue": 1024, "requestTimeout": "10s", "requestBytes": "64Mi"},
        "session": {},
    },
    "scaling": {"minReplicas": 1, "metrics": [{"type": "CPU", "target": "70%"}]},
    "traffic": {"path": "/"},
    "rollout": {
        "steps": [
            {"weight": 1, "hold": "2m"},
            {"weight": 5, "hold": "10m"},
            {"weight": 25, "hold": "10m"},
            {"weight": 50, "hold": "10m"},
        ],
        "analysis": {
            "interval": "30s",
            "window": "2m",
            "warmup": "30s",
            "minRequests": 100,
            "failureLimit": 3,
            "onInconclusive": "Hold",
        },
        "checks": [
            {"name": "errors", "errorRate": {"maxIncrease": "0.1%", "abort": "20%"}},
            {"name": "p99", "latency": {"quantile": "0.99", "maxIncrease": "10%"}},
        ],
        "progressDeadline": "10m",
        "keepStableFor": "5m",
        "watchAfterPromotion": "10m",
    },
}

INGRESS = {"host": "fraud.example.com", "ingress": {}}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # fields of spec, what of spec is there afterwards
    "https": ({"model.uri": "https://example.com/a%20b.onnx?token=1"}, {}),
    "file": ({"model.uri": "file:///models/fraud/"}, {}),
    "key with spaces": ({"model.uri": "s3://models/my fraud/1"}, {}),
    "everything about the model": (
        {
            "model.version": "2.1.0_rc-1",
            "model.sha256": "0f" * 32,
            "model.credentialsSecret": "s3-models",
            "model.s3": {"endpoint": "http://s3.storage.svc:8333", "region": "eu-central-1"},
        },
        {},
    ),
    "a claim": ({"model.uri": "pvc://team.models/fraud/1/"}, {}),
    "golden requests": (
        {
            "model.golden": {
                "requests": [
                    {
                        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[0.1, 2]], "new": None}],
                        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "data": ["\u00fc"]}],
                    }
                ],
                "tolerance": {"relative": 0.001, "absolute": 0},
            }
        },
        {},
    ),
    "batching": ({"runtime.batching": {"maxBatchSize": 4096, "maxDelay": "10s"}}, {}),
    "no batching": ({"runtime.batching": {"maxBatchSize": 1, "maxDelay": "0s"}}, {}),
    "limits of every form": (
        {
            "runtime.limits": {
                "queue": 1,
                "queueBytes": "64Mi",
                "queueDelay": "1ms",
                "requestTimeout": "1h",
                "requestBytes": "65536Ki",
            }
        },
        {},
    ),
    "a queue bounded by what a run costs": ({"runtime.limits.queueDelay": "auto"}, {}),
    "a session on a GPU": (
        {
            "runtime.device": "gpu",
            "runtime.session": {
                "providers": ["TensorRT", "CUDA", "CPU"],
                "intraOpThreads": 1,
                "precision": "int8",
                "precisionTolerance": "100%",
            },
        },
        {},
    ),
    "a session without processors": ({"runtime.device": "gpu", "runtime.session": {"providers": ["CUDA"]}}, {}),
    "a session on processors": ({"runtime.session": {"providers": ["CPU"], "precision": "fp32"}}, {}),
    "no gRPC": ({"runtime.grpc": {"enabled": False}}, {}),
    "a cache": ({"runtime.responseCache": {"url": "rediss://cache.example.com:6379/15", "ttl": "1s"}}, {}),
    "a cache with a password": (
        {"runtime.responseCache": {"secretRef": {"name": "redis", "key": "URL_1"}, "ttl": "8760h"}},
        {},
    ),
    "a log": ({"runtime.requestLog": {"sample": "0.5%"}}, {}),
    "one limit of a pod": (
        {"runtime.limits.queue": 8},
        {"runtime.limits": {"queue": 8, "requestTimeout": "10s", "requestBytes": "64Mi"}},
    ),
    "quantities of every form": (
        {
            "runtime.resources.requests": {"cpu": 1, "memory": "1.5Gi"},
            "runtime.resources.limits": {"cpu": "2000m", "memory": "2e9", "nvidia.com/gpu": "1"},
        },
        {},
    ),
    "variables": (
        {
            "runtime.env": [
                {"name": "OMP_NUM_THREADS", "value": "1"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b", "optional": True}}},
            ]
        },
        {},
    ),
    "tolerations and node labels": (
        {
            "runtime.nodeSelector": {"gpu": "a100"},
            "runtime.tolerations": [{"key": "a", "operator": "Exists", "newField": {"x": 1}}],
        },
        {},
    ),
    "a pod template with fields of the future": (
        {
            "runtime.podTemplate": {
                "metadata": {"labels": {"team": "risk"}},
                "spec": {
                    "containers": [
                        {"name": "runtime", "volumeMounts": [{"name": "x", "mountPath": "/x", "new": [1.5]}]}
                    ],
                    "volumes": [{"name": "x", "$patch": "delete"}],
                    "hostUsers": False,
                    "fieldOfTheFuture": {"deep": [{"er": None}]},
                },
            }
        },
        {},
    ),
    "autoscaling": (
        {"scaling": {"minReplicas": 2, "maxReplicas": 20, "metrics": [{"type": "Memory", "target": "1Gi"}]}},
        {},
    ),
    "as many at most as at least": ({"scaling.minReplicas": 3, "scaling.maxReplicas": 3}, {}),
    "ingress of the default class": ({"traffic": INGRESS}, {"traffic": {**INGRESS, "path": "/"}}),
    "ingress with all": (
        {
            "traffic": {
                "host": "fraud.example.com",
                "path": "/models/fraud.v2/",
                "ingress": {
                    "className": "nginx",
                    "tlsSecret": "fraud-tls",
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "64m"},
                },
            }
        },
        {},
    ),
    "a look by a header first": (
        {
            "traffic": {"host": "fraud.example.com", "path": "/", "ingress": {"previewHeader": "X-Preview"}},
            "rollout.steps": [{"weight": 0, "hold": "5m", "approval": True}, {"weight": 50, "hold": "5m"}],
        },
        {},
    ),
    "BlueGreen": ({"rollout.strategy": "BlueGreen"}, {}),
    "BlueGreen with a look": (
        {"rollout.strategy": "BlueGreen", "rollout.steps": [{"weight": 0, "hold": "5m", "approval": True}]},
        {},
    ),
    "Recreate": ({"rollout.strategy": "Recreate"}, {}),
    "one step of everything": ({"rollout.steps": [{"weight": 100, "hold": "0s"}]}, {}),
    "durations of every form": (
        {
            "rollout.steps": [
                {"weight": 1, "hold": "1h30m"},
                {"weight": 2, "hold": "1.5h"},
                {"weight": 3, "hold": "90000ms"},
            ],
            "rollout.analysis": {
                "interval": "1s",
                "window": "1000ms",
                "warmup": "0s",
                "minRequests": 1,
                "failureLimit": 1,
                "onInconclusive": "Rollback",
            },
            "rollout.progressDeadline": "8760h",
        },
        {},
    ),
    "window as long as interval": (
        {"rollout.analysis": {"interval": "2m"}},
        {"rollout.analysis": {**DEFAULTS["rollout"]["analysis"], "interval": "2m"}},
    ),
    "checks of every kind": (
        {
            "rollout.checks": [
                {"name": "errors", "errorRate": {"max": "0.5%", "maxIncrease": "0.1%", "abort": "100%"}},
                {"name": "p999", "latency": {"quantile": "0.999", "max": "250ms", "maxIncrease": "20%"}},
                {"name": "mean", "query": {"promql": 'x{r="{{revision}}"}[{{window}}]', "min": "-1e3", "max": "0.3"}},
            ]
        },
        {},
    ),
    "quantile by default": (
        {"rollout.checks": [{"name": "p99", "latency": {"max": "1s"}}]},
        {"rollout.checks": [{"name": "p99", "latency": {"quantile": "0.99", "max": "1s"}}]},
    ),
    "no checks": ({"rollout.checks": []}, {}),
}


def at(spec: Body, path: str) -> Any:
    value: Any = spec
    for key in path.split("."):
        value = value[key]
    return value


def test_the_shortest_object_gets_every_default(
    rest: Rest, namespace: str, model_deployment: Callable[..., Body]
) -> None:
    created = rest.create(namespace, model_deployment(), fieldValidation="Strict")

    assert created.status == 201, created
    assert created.warnings == ()
    assert created.body["spec"] == DEFAULTS
    assert "status" not in created.body


@pytest.mark.parametrize(("fields", "changed"), CASES.values(), ids=CASES.keys())
def test_good_input_is_accepted_and_read_back(
    rest: Rest,
    crd_installed: None,
    model_deployment: Callable[..., Body],
    fields: dict[str, Any],
    changed: dict[str, Any],
) -> None:
    created = rest.create("default", model_deployment(fields), fieldValidation="Strict", dryRun="All")

    assert created.status == 201, created
    for path, value in {**fields, **changed}.items():
        assert at(created.body["spec"], path) == value
    # The operator reads all of it, and nothing else.
    read = ModelDeployment.from_wire(created.body).spec
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == created.body["spec"]


def test_the_operator_and_the_api_server_have_the_same_defaults(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body]
) -> None:
    written = model_deployment()
    created = rest.create("default", written, dryRun="All").body
    bare = ModelDeployment.from_wire({**created, "spec": written["spec"]})

    assert ModelDeployment.from_wire(created).spec == bare.spec


@pytest.mark.parametrize("fields", [fields for fields, _ in CASES.values()], ids=CASES.keys())
def test_defaults_that_the_api_server_fills_in_make_no_other_revision(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body], fields: dict[str, Any]
) -> None:
    written = model_deployment(fields)
    created = rest.create("default", written, dryRun="All").body
    bare = ModelDeployment.from_wire({**created, "spec": written["spec"]})

    assert revision_hash(ModelDeployment.from_wire(created)) == revision_hash(bare)


def test_a_longest_name_is_accepted(rest: Rest, crd_installed: None, model_deployment: Callable[..., Body]) -> None:
    assert rest.create("default", model_deployment(name="f" * 52), dryRun="All").status == 201


def test_the_examples_are_accepted(apiserver: ApiServer, namespace: str, repository: Path) -> None:
    for file in sorted((repository / "examples").glob("*.yaml")):
        for example in yaml.safe_load_all(file.read_text()):
            if example["kind"] == "ModelDeployment":
                example["metadata"].pop("namespace", None)
                arguments = ("apply", f"--namespace={namespace}", "--dry-run=server", "--filename=-")
                applied = apiserver.kubectl(*arguments, stdin=yaml.safe_dump(example))
                assert applied.returncode == 0, f"{file.name}: {applied.stderr}"
