"""The real operator against a real API server, with hands in place of controllers and a stand-in for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml

from e2e.apiserver.fork import Fork
from e2e.apiserver.hands import Hands
from e2e.apiserver.operator_process import OperatorProcess
from e2e.apiserver.prometheus import PrometheusStandIn
from e2e.apiserver.recording import Recording

from .model import Model

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest
    from e2e.apiserver.server import ApiServer

Body = dict[str, Any]
StartOperator = Callable[..., OperatorProcess]
Record = Callable[..., Recording]

USER = "operator"
MOST_TESTS = 36
"""Namespaces that the shared operator serves: one for each test, and some to spare."""
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="session")
def operator_rights(rest: Rest, repository: Path) -> None:
    """The operator's user may do what the chart's rules allow, and nothing else."""
    template = (repository / "charts/haldane/templates/_rules.tpl").read_text()
    body = template[template.index('define "haldane.rules"') :].split("\n", 1)[1].split("{{- end -}}")[0]
    role = {"metadata": {"name": "haldane"}, "rules": yaml.safe_load(re.sub(r"(?m)^{{.*$", "", body))}
    assert rest.send("POST", f"{RBAC}/clusterroles", role).status == 201
    binding = {
        "metadata": {"name": "haldane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "haldane"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }
    assert rest.send("POST", f"{RBAC}/clusterrolebindings", binding).status == 201


@pytest.fixture(scope="session")
def prometheus() -> Iterator[PrometheusStandIn]:
    stand_in = PrometheusStandIn()
    yield stand_in
    stand_in.end()


@pytest.fixture(scope="session")
def launch(
    apiserver: ApiServer,
    crd_installed: None,
    operator_rights: None,
    prometheus: PrometheusStandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> StartOperator:
    """Start an operator: `launch(watch_namespaces="a,b")`; `kubeconfig` may name another file, and a `fork` starts it at once. Whoever starts it ends it."""
    folder = tmp_path_factory.mktemp("operator")

    def start(fork: Fork | None = None, **settings: str) -> OperatorProcess:
        # No kubelet runs a runtime here that could be asked; `test_gates` has stand-ins.
        defaults = {"runtime_image": "haldane/runtime:dev", "prometheus_url": prometheus.url, "health_port": "0"}
        defaults |= {"gates": "off"}
        log = folder / f"{uuid4().hex[:6]}.log"
        kubeconfig = Path(settings.pop("kubeconfig", "") or apiserver.kubeconfig(USER))
        return OperatorProcess(log, kubeconfig, fork, **(defaults | settings))

    return start


@pytest.fixture
def start_operator(launch: StartOperator, namespace: str) -> Iterator[StartOperator]:
    """Start an operator for the test's own namespace, and wait until it works."""
    started: list[OperatorProcess] = []

    def start(**settings: str) -> OperatorProcess:
        process = launch(**({"watch_namespaces": namespace} | settings))
        started.append(process)
        process.wait_until_healthy()
        return process

    yield start
    for process in started:
        process.end()
        print(process.log)  # pytest shows it beside a failure


@pytest.fixture(scope="session")
def served(rest: Rest, launch: StartOperator) -> Iterator[tuple[OperatorProcess, list[str]]]:
    """One operator for all tests that do not stop it, and the namespaces that it serves: starting one takes seconds."""
    namespaces = [rest.new_namespace() for _ in range(MOST_TESTS)]
    process = launch(watch_namespaces=",".join(namespaces))
    process.wait_until_healthy()
    yield process, namespaces
    process.end()


@pytest.fixture
def served_namespace(rest: Rest, served: tuple[OperatorProcess, list[str]]) -> Iterator[str]:
    """A namespace of its own that the shared operator serves."""
    process, namespaces = served
    name = namespaces.pop()
    said_before = len(process.log)
    yield name
    rest.clear(name)
    print("\n".join(line for line in process.log[said_before:].splitlines() if name in line))


@pytest.fixture
def model(rest: Rest, served_namespace: str, prometheus: PrometheusStandIn) -> Model:
    """A ModelDeployment `fraud`, not created yet, that the shared operator will serve."""
    return Model(rest, Hands(rest, served_namespace, prometheus.of(served_namespace)))


@pytest.fixture
def own_model(rest: Rest, namespace: str, prometheus: PrometheusStandIn) -> Model:
    """The same for the operators that the test itself starts."""
    return Model(rest, Hands(rest, namespace, prometheus.of(namespace)))


@pytest.fixture
def record(rest: Rest) -> Iterator[Record]:
    """Record from now on what becomes of a model's objects of some kinds: `record(model, "Ingress")`."""
    recordings: list[Recording] = []

    def begin(model: Model, *kinds: str) -> Recording:
        recordings.append(Recording(rest, model.namespace, *kinds))
        return recordings[-1]

    yield begin
    for recording in recordings:
        recording.stop()
