"""What the runtime container is told of spec, variable by variable."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from haldane.api.model import LARGEST_GOLDEN
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.environment import environment
from haldane.plan.pod_template import render

Make = Callable[..., ModelDeployment]
URI = "s3://models/fraud/1/"
ALWAYS = {
    "HALDANE_MODEL_NAME",
    "HALDANE_MODEL_NAMESPACE",
    "HALDANE_REVISION",
    "HALDANE_MODEL_VERSION",
    "HALDANE_MODEL_URI",
    "HALDANE_DEVICE",
    "HALDANE_QUEUE",
    "HALDANE_REQUEST_TIMEOUT",
    "HALDANE_REQUEST_BYTES",
    "HALDANE_CACHE_DIR",
    "HALDANE_PORT",
    "HALDANE_TERMINATION_LOG",
}


def told(md: ModelDeployment) -> dict[str, Any]:
    made = environment(md, "aaaaaaaaaa", "1")
    assert len({variable["name"] for variable in made}) == len(made), "no variable is set twice"
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in made}


def test_what_is_left_out_is_not_told(model_deployment: Make) -> None:
    assert told(model_deployment()).keys() == ALWAYS


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # runtime, the variables that it adds
    "batch size": ({"batching": {"maxBatchSize": 1}}, {"HALDANE_MAX_BATCH_SIZE": "1"}),
    "batch delay": ({"batching": {"maxDelay": "2ms"}}, {"HALDANE_MAX_BATCH_DELAY": "0.002"}),
    "batch delay of microseconds": ({"batching": {"maxDelay": "0.05ms"}}, {"HALDANE_MAX_BATCH_DELAY": "0.00005"}),
    "no batch delay": ({"batching": {"maxDelay": "0s"}}, {"HALDANE_MAX_BATCH_DELAY": "0"}),
    "bytes of the queue": ({"limits": {"queueBytes": "1Gi"}}, {"HALDANE_QUEUE_BYTES": "1073741824"}),
    "delay of the queue": ({"limits": {"queueDelay": "1m"}}, {"HALDANE_QUEUE_DELAY": "60"}),
    "delay of the queue by the model's cost": ({"limits": {"queueDelay": "auto"}}, {"HALDANE_QUEUE_DELAY": "auto"}),
    "providers": ({"session": {"providers": ["CUDA", "CPU"]}, "device": "gpu"}, {"HALDANE_PROVIDERS": "CUDA,CPU"}),
    "precision": (
        {"session": {"precision": "int8", "precisionTolerance": "2.5%"}},
        {"HALDANE_PRECISION": "int8", "HALDANE_PRECISION_TOLERANCE": "0.025"},
    ),
    "all of the tolerance": (
        {"session": {"precision": "int8", "precisionTolerance": "100%"}},
        {"HALDANE_PRECISION": "int8", "HALDANE_PRECISION_TOLERANCE": "1"},
    ),
    "no gRPC": ({"grpc": {"enabled": False}}, {"HALDANE_GRPC_PORT": "0"}),
    "gRPC": ({"grpc": {"enabled": True}}, {}),
    "cache": (
        {"responseCache": {"url": "redis://cache:6379/0", "ttl": "90s"}},
        {"HALDANE_RESPONSE_CACHE": "redis://cache:6379/0", "HALDANE_RESPONSE_CACHE_TTL": "90"},
    ),
    "cache with a password": (
        {"responseCache": {"secretRef": {"name": "redis"}}},
        {"HALDANE_RESPONSE_CACHE": {"secretKeyRef": {"name": "redis", "key": "url"}}},
    ),
    "log of all": ({"requestLog": {"sample": "100%"}}, {"HALDANE_REQUEST_LOG": "1"}),
    "log of few": ({"requestLog": {"sample": "0.001%"}}, {"HALDANE_REQUEST_LOG": "0.00001"}),
    "log of none": ({"requestLog": {"sample": "0%"}}, {"HALDANE_REQUEST_LOG": "0"}),
}


@pytest.mark.parametrize(("runtime", "added"), CASES.values(), ids=CASES.keys())
def test_what_is_written_is_told(model_deployment: Make, runtime: dict[str, Any], added: dict[str, Any]) -> None:
    made = told(model_deployment(runtime=runtime))
    assert {name: value for name, value in made.items() if name not in ALWAYS} == added


def test_the_users_own_variables_come_last(model_deployment: Make) -> None:
    runtime = {"env": [{"name": "A", "value": "1"}], "responseCache": {"secretRef": {"name": "redis"}}}
    assert list(told(model_deployment(runtime=runtime)))[-2:] == ["HALDANE_RESPONSE_CACHE", "A"]


GOLDEN: dict[str, Any] = {
    "requests": [
        {
            "inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["$(HALDANE_PORT)", "$$ü"]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.1]}],
        }
    ]
}


def test_golden_requests_arrive_as_they_were_written(model_deployment: Make) -> None:
    value = told(model_deployment({"model": {"uri": URI, "golden": GOLDEN}}))["HALDANE_GOLDEN"]
    assert json.loads(value) == GOLDEN
    assert "$" not in value, "Kubernetes expands $(NAME) and $$ in variables"


def test_golden_requests_that_fit_no_variable_are_refused(model_deployment: Make) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 10_000], "data": [1.25] * 10_000}
    many = {"requests": [{"inputs": [tensor], "outputs": [tensor]}]}
    with pytest.raises(ValidationError, match=f"at most {LARGEST_GOLDEN} fit: write fewer requests, or put them into"):
        model_deployment({"model": {"uri": URI, "golden": many}})


@pytest.mark.parametrize(
    ("uri", "claim", "path"),
    [
        ("pvc://models/fraud/1/model.onnx", "models", "file:///mnt/model/fraud/1/model.onnx"),
        ("pvc://team.models/my fraud/", "team.models", "file:///mnt/model/my fraud/"),
    ],
)
def test_a_claim_is_mounted_and_read_only(model_deployment: Make, uri: str, claim: str, path: str) -> None:
    md = model_deployment({"model": {"uri": uri}})
    spec = render(md, "aaaaaaaaaa", "1", "haldane/runtime:1")["spec"]
    assert told(md)["HALDANE_MODEL_URI"] == path
    assert spec["volumes"][-1] == {
        "name": "model",
        "persistentVolumeClaim": {"claimName": claim, "readOnly": True},
    }
    assert spec["containers"][0]["volumeMounts"][-1] == {"name": "model", "mountPath": "/mnt/model", "readOnly": True}


@pytest.mark.parametrize("uri", ["pvc://models", "pvc://models/", "pvc:///m.onnx", "pvc://M/m.onnx", "pvc://m/a?b"])
def test_what_is_no_claim_is_refused(model_deployment: Make, uri: str) -> None:
    with pytest.raises(ValidationError, match="pvc://claim/path"):
        model_deployment({"model": {"uri": uri}})


@pytest.mark.parametrize(("grpc", "ports"), [(None, ["http", "grpc"]), ({"enabled": False}, ["http"])])
def test_ports(model_deployment: Make, grpc: dict[str, bool] | None, ports: list[str]) -> None:
    spec = render(model_deployment(runtime={"grpc": grpc}), "aaaaaaaaaa", "1", "haldane/runtime:1")["spec"]
    assert [port["name"] for port in spec["containers"][0]["ports"]] == ports
