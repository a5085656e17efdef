"""The operator itself, with the environment that the chart gives it and as the account that the chart gives rights to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.apiserver.operator_process import OperatorProcess
from e2e.apiserver.server import ApiServer

from .release import SYSTEM, Cluster

pytestmark = pytest.mark.api

Manifest = dict[str, Any]
SECONDS = 20
MODEL = {
    "apiVersion": "haldane.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "fraud"},
    "spec": {
        "model": {"uri": "s3://models/fraud/1.0.0/model.onnx"},
        "scaling": {"minReplicas": 2, "maxReplicas": 4},
        "traffic": {"host": "fraud.example.com", "ingress": {"className": "nginx"}},
    },
}
CHILDREN = {
    "controllerrevision",
    "deployment",
    "horizontalpodautoscaler",
    "ingress",
    "poddisruptionbudget",
    "service",
    "serviceaccount",
}


@pytest.fixture
def start(apiserver: ApiServer, cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[Manifest], OperatorProcess]]:
    """Install the chart, and run the operator as its Deployment would."""
    started: list[OperatorProcess] = []

    def run(values: Manifest) -> OperatorProcess:
        cluster.helm("install", values)
        token = cluster.kubectl("create", "token", "haldane", "--namespace", SYSTEM).strip()
        config = json.loads(apiserver.kubeconfig().read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        deployment = json.loads(cluster.kubectl("get", "deployment", "haldane", "--namespace", SYSTEM, "--output=json"))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        settings = {
            entry["name"].removeprefix("HALDANE_").lower(): entry.get("value", "") for entry in container["env"]
        }
        process = OperatorProcess(tmp_path / "operator.log", kubeconfig, **settings | {"health_port": "0"})
        started.append(process)
        process.wait_until_healthy()
        port = process.log.partition("health_port=")[2].split()[0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            assert httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == httpx.codes.OK
        return process

    yield run
    for process in started:
        process.end()


@pytest.mark.parametrize(
    ("values", "namespace"),
    [({}, "shop"), ({"watchNamespaces": ["shop", "stock"]}, "stock")],
    ids=["everywhere", "some namespaces"],
)
def test_the_operator_has_every_right_that_its_work_takes(
    cluster: Cluster,
    start: Callable[[Manifest], OperatorProcess],
    health: Callable[[Manifest], tuple[str, str]],
    values: Manifest,
    namespace: str,
) -> None:
    operator = start({"logLevel": "debug", **values})
    there = f"--namespace={namespace}"
    cluster.kubectl("create", there, "--filename=-", stdin=json.dumps(MODEL))

    def made() -> set[str]:
        names = cluster.names(",".join(sorted(CHILDREN)), there, "--selector=haldane.dev/model=fraud")
        return {name.partition("/")[0].partition(".")[0] for name in names}

    def events() -> list[str]:
        return cluster.names("events.v1.events.k8s.io", there)

    deadline = time.monotonic() + SECONDS
    while made() != CHILDREN or not events():
        assert time.monotonic() < deadline, f"only {made()} and {len(events())} Events came:\n{operator.log}"
        time.sleep(0.2)
    cluster.kubectl("wait", "--for=condition=Reconciling", "--timeout=10s", "modeldeployment/fraud", there)
    seen = json.loads(cluster.kubectl("get", "modeldeployment/fraud", there, "--output=json"))
    assert health(seen)[0] == "Progressing"
    assert operator.terminate()[0] == 0
    assert "forbidden" not in operator.log, operator.log
