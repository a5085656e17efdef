"""The harness itself: what it starts it also ends, and what does not start says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.apiserver.process import Process
from e2e.apiserver.server import OPERATOR, ApiServer, NotStarted, Programs, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import ApiClient

    from e2e.apiserver.rest import Rest


def script(folder: Path, name: str, text: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def test_ports_are_free_and_differ() -> None:
    ports = set(free_ports(20))
    assert len(ports) == 20
    assert max(ports) < 32768, "no client is given one of them before it is used"


def test_a_program_that_ends_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    etcd = script(tmp_path, "etcd", "echo no space left on device >&2; exit 3")
    programs = Programs(etcd, script(tmp_path, "kube-apiserver", "exec sleep 60"), Path("kubectl"))
    with pytest.raises(NotStarted, match=r"(?s)etcd\.log ended with status 3:.*no space left on device"):
        ApiServer(programs, tmp_path)


def test_nothing_is_left_when_the_start_fails(tmp_path: Path) -> None:
    etcd = script(tmp_path, "etcd", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    programs = Programs(etcd, script(tmp_path, "kube-apiserver", "sleep 0.2; exit 1"), Path("kubectl"))
    with pytest.raises(NotStarted, match=r"kube-apiserver\.log ended with status 1"):
        ApiServer(programs, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_ignores_the_first_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e.apiserver.process.END_SECONDS", 0.2)
    child = Process(["/bin/sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; sleep 60"], tmp_path / "log")
    while "ready" not in child.tail():
        assert child.ended is None
    child.end()
    assert child.ended == -signal.SIGKILL


def test_a_program_ends_with_the_tests_however_they_end(
    tmp_path: Path, repository: Path, until: Callable[..., None]
) -> None:
    source = (
        "import time; from pathlib import Path; from e2e.apiserver.process import Process;"
        f" Process(['/bin/sh', '-c', 'echo $$; exec sleep 60'], Path({str(tmp_path / 'log')!r})); time.sleep(60)"
    )
    tests = subprocess.Popen([sys.executable, "-c", source], cwd=repository)
    log = tmp_path / "log"
    until(lambda: log.exists() and log.read_text().endswith("\n"), "the program has started", 20.0)
    tests.kill()
    tests.wait()

    def gone() -> bool:
        try:
            os.kill(int(log.read_text()), 0)
        except ProcessLookupError:
            return True
        # Nobody may be there to collect it: then it is dead, but still listed.
        return Path(f"/proc/{int(log.read_text())}/stat").read_text().split()[2] == "Z"

    until(gone, "the program has ended", 5.0)


@pytest.mark.api
def test_the_api_is_real_and_up_in_seconds(apiserver: ApiServer, kubernetes_client: ApiClient) -> None:
    from kubernetes import client

    started = time.monotonic()
    assert client.VersionApi(kubernetes_client).get_code().major == "1"
    assert time.monotonic() - started < 5.0
    assert [name for name, _ in apiserver.tails()] == ["etcd.log", "kube-apiserver.log"]


@pytest.mark.api
def test_the_operators_user_has_no_rights_of_its_own(apiserver: ApiServer, namespace: str) -> None:
    with apiserver.client(OPERATOR) as http:
        answer = http.get(f"/api/v1/namespaces/{namespace}/secrets")
    assert answer.status_code == 403
    assert f'User "{OPERATOR}" cannot list resource "secrets"' in answer.json()["message"]


@pytest.mark.api
def test_what_a_test_leaves_is_cleared(rest: Rest, crd_installed: None) -> None:
    namespace = rest.new_namespace()
    pod = {"metadata": {"name": "left"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    assert rest.create(namespace, {"apiVersion": "v1", "kind": "Pod", **pod}).status == 201
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "left"}, "spec": {}}
    assert rest.create(namespace, lease).status == 201

    rest.clear(namespace)

    assert rest.items("Pod", namespace) == []
    assert rest.items("Lease", namespace) == []
