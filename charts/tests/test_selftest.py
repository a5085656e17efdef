"""`helm test`'s script, run as the operator's ServiceAccount against a real kube-apiserver."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from e2e.apiserver.server import ApiServer

from .release import until_served

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Check = Callable[..., tuple[int, str]]
Fault = Callable[[str, dict[str, str]], str | None]
Start = Callable[..., str]
NAMESPACE = "selftest"
SERVED = "ModelDeployments are served by the API server."
RIGHTS = "The operator has the rights that it needs."


@pytest.fixture(scope="session")
def account(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a pod of the operator finds it: its token and the certificate of the server."""
    folder = tmp_path_factory.mktemp("account")
    for arguments in (("namespace", NAMESPACE), ("serviceaccount", "haldane", "--namespace", NAMESPACE)):
        done = apiserver.kubectl("create", *arguments)
        assert done.returncode == 0, done.stderr
    token = apiserver.kubectl("create", "token", "haldane", "--namespace", NAMESPACE)
    assert token.returncode == 0, token.stderr
    (folder / "token").write_text(token.stdout)
    shutil.copyfile(apiserver.ca_file, folder / "ca.crt")
    return folder


@pytest.fixture
def check(apiserver: ApiServer, account: Path, render: Render) -> Iterator[Check]:
    """Apply a part of what some values make, run the test pod's command with its environment; exit status and output.

    All that was applied is removed when the test ends.
    """
    applied: list[str] = []

    def run(values: Manifest, without: tuple[str, ...] = ()) -> tuple[int, str]:
        made = render(values, "--namespace", NAMESPACE)
        parts = [
            manifest for manifest in made if manifest["kind"] not in {"Deployment", "Pod", "ServiceAccount", *without}
        ]
        if parts:
            applied.append(json.dumps({"apiVersion": "v1", "kind": "List", "items": parts}))
            done = apiserver.kubectl("apply", "--server-side", "-f", "-", stdin=applied[-1])
            assert done.returncode == 0, done.stderr
        if "CustomResourceDefinition" not in without:
            until_served(apiserver)
        (container,) = next(manifest for manifest in made if manifest["kind"] == "Pod")["spec"]["containers"]
        address = urlsplit(apiserver.url)
        env = {entry["name"]: entry["value"] for entry in container["env"]} | {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "ACCOUNT": str(account),
            "PATH": os.environ["PATH"],
        }
        assert container["command"] == ["python3", "-c"]
        command = [sys.executable, "-c", *container["args"]]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert not ended.stderr, ended.stderr
        return ended.returncode, ended.stdout

    yield run
    for manifests in applied:
        apiserver.kubectl("delete", "--ignore-not-found", "--timeout=30s", "-f", "-", stdin=manifests)


@pytest.fixture
def prometheus() -> Iterator[Start]:
    """Starts a stand-in for Prometheus that answers every request with its `headers` in one way; its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(
        status: int,
        body: str,
        headers: dict[str, str] | None = None,
        authority: trustme.CA | None = None,
    ) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = (headers or {}).items() <= dict(self.headers).items()
                self.send_response((status if known else 401) if self.path == "/api/v1/query?query=1" else 404)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        if authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"{'https' if authority else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.api
def test_all_is_well(check: Check, prometheus: Start) -> None:
    url = prometheus(200, '{"status": "success"}')
    assert check({"prometheus": {"url": url}}) == (0, f"{SERVED}\n{RIGHTS}\nPrometheus answers at {url}.\n")


@pytest.mark.api
def test_all_is_well_in_some_namespaces(apiserver: ApiServer, check: Check) -> None:
    apiserver.kubectl("create", "namespace", "selftest-team")
    status, said = check({"prometheus": {"url": ""}, "watchNamespaces": [NAMESPACE, "selftest-team"]})
    assert said.splitlines() == [
        SERVED,
        RIGHTS,
        "No prometheus.url is set: rollouts with checks hold until there is one.",
    ]
    assert status == 0


@pytest.mark.api
def test_without_the_crd_it_says_which_value_to_set(check: Check) -> None:
    status, said = check({}, without=("CustomResourceDefinition",))
    assert (status, said) == (
        1,
        "The CRD of ModelDeployment is missing: set crds.install=true and upgrade the release.\n",
    )


@pytest.mark.api
def test_without_rights_it_says_which_value_to_set(check: Check) -> None:
    status, said = check({"rbac": {"create": False, "aggregate": False}})
    assert status == 1
    assert "The operator may not list ModelDeployments: set rbac.create=true" in said


@pytest.mark.api
def test_rights_that_are_missing_are_named(apiserver: ApiServer, check: Check) -> None:
    reader = ("--clusterrole=haldane-view", f"--serviceaccount={NAMESPACE}:haldane")
    done = apiserver.kubectl("create", "clusterrolebinding", "haldane", *reader)
    assert done.returncode == 0, done.stderr
    try:
        status, said = check({"prometheus": {"url": ""}}, without=("ClusterRoleBinding",))
    finally:
        apiserver.kubectl("delete", "clusterrolebinding", "haldane")
    assert status == 1
    assert "The operator lacks rights: update modeldeployments/status in all namespaces; get deployments in" in said
    assert "list modeldeployments" not in said
    assert "No prometheus.url is set" in said


@pytest.fixture(scope="module")
def fault(chart: Path) -> Fault:
    """The script's own function."""
    found: Fault = runpy.run_path(str(chart / "files/selftest.py"))["prometheus_fault"]
    return found


CONSEQUENCE = "rollouts with checks would hold. Correct prometheus.url."


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, '{"status": "success"}', None),
        (503, "", f"Prometheus at URL answered 503: {CONSEQUENCE}"),
        (200, '{"status": "error"}', f"What answers at URL is not Prometheus: {CONSEQUENCE}"),
        (200, '["a list"]', f"What answers at URL is not Prometheus: {CONSEQUENCE}"),
        (200, "<html>", f"What answers at URL is not Prometheus: {CONSEQUENCE}"),
    ],
)
def test_what_is_no_prometheus_is_a_fault(
    fault: Fault,
    prometheus: Start,
    status: int,
    body: str,
    sentence: str | None,
) -> None:
    url = prometheus(status, body)
    assert fault(url, {}) == (sentence.replace("URL", url) if sentence else None)
    assert fault(f"{url}/", {}) == (sentence.replace("URL", f"{url}/") if sentence else None)


def test_a_prometheus_that_is_not_there_is_a_fault(fault: Fault) -> None:
    said = fault("http://127.0.0.1:9", {}) or ""
    assert said.startswith("Prometheus at http://127.0.0.1:9 does not answer (")
    assert said.endswith(CONSEQUENCE)


BASIC = "Basic aGFsZGFuZTpzZWNyZXQ="


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({"TOKEN": "t0ken\n"}, {"Authorization": "Bearer t0ken"}),
        ({"USERNAME": "haldane", "PASSWORD": "secret\n"}, {"Authorization": BASIC}),
    ],
)
def test_it_shows_what_the_operator_shows(
    fault: Fault, prometheus: Start, tmp_path: Path, written: dict[str, str], shown: dict[str, str]
) -> None:
    settings = {"HALDANE_PROMETHEUS_HEADERS": '{"X-Tenant": "payments"}'}
    for name, text in written.items():
        (tmp_path / name).write_text(text)
        settings[f"HALDANE_PROMETHEUS_{name}_FILE"] = str(tmp_path / name)
    url = prometheus(200, '{"status": "success"}', shown | {"X-Tenant": "payments"})
    assert fault(url, settings) is None
    assert fault(url, {}) == (
        f"Prometheus at {url} answered 401: rollouts with checks would hold. "
        "Set prometheus.bearerToken or prometheus.basicAuth, or correct what the Secret holds."
    )


def test_credentials_that_are_not_there_are_a_fault(fault: Fault, prometheus: Start) -> None:
    said = fault(prometheus(200, ""), {"HALDANE_PROMETHEUS_TOKEN_FILE": "/nowhere/token"}) or ""
    assert "'/nowhere/token'" in said


def test_an_authority_of_its_own_is_trusted_when_it_is_named(fault: Fault, prometheus: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    url = prometheus(200, '{"status": "success"}', authority=authority)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    assert fault(url, {"HALDANE_PROMETHEUS_CA_FILE": str(tmp_path / "ca.crt")}) is None
    said = fault(url, {}) or ""
    assert "cannot be trusted" in said
    assert said.endswith("Set prometheus.ca to the authority of its certificate.")
