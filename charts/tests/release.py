"""Releases of the chart on a real kube-apiserver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from e2e.apiserver.server import ApiServer

Manifest = dict[str, Any]
SYSTEM = "haldane-system"
SERVED_SECONDS = 30
CRD = "modeldeployments.haldane.dev"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:haldane"


def until_served(apiserver: ApiServer) -> None:
    """Wait until ModelDeployments can be listed: a CRD is called established a moment before that."""
    deadline = time.monotonic() + SERVED_SECONDS
    while (done := apiserver.kubectl("get", "modeldeployments", "--all-namespaces")).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


class Cluster:
    """kubectl and Helm on one API server."""

    def __init__(self, apiserver: ApiServer, run_helm: Callable[..., CompletedProcess[str]], chart: Path) -> None:
        self._apiserver = apiserver
        self._run_helm = run_helm
        self._chart = chart

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = self._apiserver.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, *arguments: str, values: Manifest | None = None) -> CompletedProcess[str]:
        env = {"KUBECONFIG": str(self._apiserver.kubeconfig())}
        return self._run_helm(*arguments, "--namespace", SYSTEM, values=values, env=env)

    def helm(self, verb: str, values: Manifest | None = None, *, release: str = "haldane") -> str:
        chart = [str(self._chart)] if values is not None else []
        done = self.attempt(verb, release, *chart, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self, kind: str, *arguments: str) -> list[str]:
        return self.kubectl("get", kind, "--output", "name", *arguments).split()

    def may(self, account: str, verb: str, resource: str, *arguments: str) -> bool:
        whole, _, subresource = resource.partition("/")
        detail = ["--subresource", subresource] if subresource else []
        done = self._apiserver.kubectl("auth", "can-i", verb, whole, *detail, "--as", account, *arguments)
        assert done.stdout.strip() in {"yes", "no"}, done.stderr
        return done.stdout.strip() == "yes"


@pytest.fixture(scope="session")
def namespaces(apiserver: ApiServer) -> None:
    """The namespaces of the tests; the release's own enforces the restricted Pod Security Standard."""
    made = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "stock")]
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}})
    done = apiserver.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(made))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(
    apiserver: ApiServer, namespaces: None, run_helm: Callable[..., CompletedProcess[str]], chart: Path
) -> Iterator[Cluster]:
    """A cluster without a release; what a test leaves is removed."""
    there = Cluster(apiserver, run_helm, chart)
    yield there
    if "haldane" in there.attempt("list", "--short").stdout.split():
        there.helm("uninstall")
    there.kubectl("delete", "crd", CRD, "--ignore-not-found", "--timeout=30s")
