"""Fixtures of the tests that need a real Kubernetes API. `operator/tests/conftest.py` offers them to every test."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from e2e.cluster import programs

from .rest import Rest
from .server import ApiServer, Programs

if TYPE_CHECKING:
    # Slow to import, and most runs of the unit tests do without.
    from kubernetes.client import ApiClient

ESTABLISHED_SECONDS = 20.0
COMPILED = {"apiserver": programs.API_SERVER, "prometheus_server": (programs.PROMETHEUS,)}
"""Programs that fixtures start."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile what is missing before the first test: inside a fixture the test's own timeout would cut it short."""
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    needed = [one for fixture, some in COMPILED.items() if fixture in used for one in some]
    if not session.config.option.collectonly and not all(one.ready() for one in needed):
        from e2e.cluster import commands

        commands.get_programs([one.name for one in needed])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the servers' logs beside a failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("apiserver")
    if report.failed and isinstance(server, ApiServer):
        report.sections.extend((f"end of {name}", tail) for name, tail in server.tails())
    return report


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A kube-apiserver with its etcd, for the whole session: its address, tokens, kubeconfigs and kubectl."""
    found = Programs(programs.ETCD.path, programs.KUBE_APISERVER.path, programs.KUBECTL.path)
    folder = tmp_path_factory.mktemp("apiserver")
    server = ApiServer(found, folder)
    try:
        yield server
    finally:
        server.end()
        for data in folder.glob("etcd-*/"):
            shutil.rmtree(data)


@pytest.fixture(scope="session")
def rest(apiserver: ApiServer) -> Iterator[Rest]:
    """Plain requests to the API server as its administrator."""
    with apiserver.client() as client:
        yield Rest(client)


@pytest.fixture(scope="session")
def kubernetes_client(apiserver: ApiServer) -> Iterator[ApiClient]:
    """The official client, logged in as the administrator."""
    import kubernetes.client

    configuration = kubernetes.client.Configuration()
    configuration.host = apiserver.url
    configuration.ssl_ca_cert = str(apiserver.ca_file)
    configuration.api_key = {"authorization": f"Bearer {apiserver.token()}"}
    with kubernetes.client.ApiClient(configuration) as client:
        yield client


@pytest.fixture(scope="session")
def crd_installed(rest: Rest) -> None:
    """The CRD as the types make it now, served."""
    from haldane.api import crd

    installed = rest.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd.definition())
    assert installed.status == httpx.codes.CREATED, installed.body["message"]
    assert not installed.warnings
    # Established is said a moment before the first request is answered: ask for what a test will ask for.
    wait_until(
        lambda: rest.send("GET", "/apis/haldane.dev/v1alpha1/modeldeployments").status == httpx.codes.OK,
        "the API server serves modeldeployments",
        ESTABLISHED_SECONDS,
    )


@pytest.fixture
def namespace(rest: Rest, crd_installed: None) -> Iterator[str]:
    """A fresh namespace on a server that knows ModelDeployments; what a test leaves in it is deleted."""
    name = rest.new_namespace()
    try:
        yield name
    finally:
        rest.clear(name)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition. Fails the test naming `what` when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"Waited {seconds:.0f} s in vain until {what}.")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str, float], None]:
    """`until(condition, "what is waited for", seconds)`."""
    return wait_until


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[2]
