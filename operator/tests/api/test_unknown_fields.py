"""What becomes of a field that the API does not know; crds/README.md says the same in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.apiserver.rest import Body, Rest
    from e2e.apiserver.server import ApiServer

pytestmark = pytest.mark.api

UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "in spec": ({"replicas": 2}, "spec.replicas"),
    "in model": ({"model.url": "s3://a/b"}, "spec.model.url"),
    "in another case": ({"model.SHA256": "a" * 64}, "spec.model.SHA256"),
    "in runtime": ({"runtime.batch": {"maxBatchSize": 8}}, "spec.runtime.batch"),
    "in batching": ({"runtime.batching": {"size": 8}}, "spec.runtime.batching.size"),
    "in golden requests": (
        {"model.golden": {"requests": [{"input": [], "inputs": [{}], "outputs": [{}]}]}},
        "spec.model.golden.requests[0].input",
    ),
    "in a variable": ({"runtime.env": [{"name": "A", "valeu": "1"}]}, "spec.runtime.env[0].valeu"),
    "a PodSpec without spec": (
        {"runtime.podTemplate": {"containers": [{"name": "proxy"}]}},
        "spec.runtime.podTemplate.containers",
    ),
    "in a step": ({"rollout.steps": [{"weight": 5, "hold": "1m", "pause": "1m"}]}, "spec.rollout.steps[0].pause"),
    "in a check": (
        {"rollout.checks": [{"name": "p99", "latency": {"max": "1s", "p": "0.99"}}]},
        "spec.rollout.checks[0].latency.p",
    ),
    "in traffic": ({"traffic.gateway": {}}, "spec.traffic.gateway"),
}


@pytest.mark.parametrize(("fields", "path"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_strict_validation_which_kubectl_asks_for_refuses_it_by_its_path(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body], fields: dict[str, Any], path: str
) -> None:
    answer = rest.create("default", model_deployment(fields), fieldValidation="Strict", dryRun="All")

    assert answer.status == 400
    assert answer.body["message"].endswith(f'strict decoding error: unknown field "{path}"')


@pytest.mark.parametrize("server_side", [False, True])
def test_kubectl_apply_refuses_it(
    apiserver: ApiServer, namespace: str, model_deployment: Callable[..., Body], server_side: bool
) -> None:
    written = json.dumps(model_deployment({"rollout.stepz": []}))
    arguments = [f"--namespace={namespace}", "--filename=-", *(["--server-side"] if server_side else [])]
    applied = apiserver.kubectl("apply", *arguments, stdin=written)

    assert applied.returncode == 1
    wanted = (
        ".spec.rollout.stepz: field not declared in schema" if server_side else 'unknown field "spec.rollout.stepz"'
    )
    assert wanted in applied.stderr


def test_server_side_apply_refuses_it_whatever_validation_is_asked_for(
    rest: Rest, namespace: str, model_deployment: Callable[..., Body]
) -> None:
    where = f"/apis/haldane.dev/v1alpha1/namespaces/{namespace}/modeldeployments/fraud"
    body = model_deployment({"rollout.stepz": []})
    query = {"fieldManager": "test", "fieldValidation": "Ignore"}
    answer = rest.send("PATCH", where, body, media="application/apply-patch+yaml", **query)

    assert answer.status == 500
    assert ".spec.rollout.stepz: field not declared in schema" in answer.body["message"]


def test_a_client_that_asks_for_no_validation_is_warned_and_the_field_is_dropped(
    rest: Rest, namespace: str, model_deployment: Callable[..., Body]
) -> None:
    answer = rest.create(namespace, model_deployment({"replicas": 2}))

    assert answer.status == 201
    assert answer.warnings == ('unknown field "spec.replicas"',)
    assert "replicas" not in answer.body["spec"]
