"""Helm itself, and the chart as it renders it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lupa.lua51
import pytest
import yaml

# The operator's tests run a kube-apiserver; these here get one of their own, because a release owns its CRD.
from e2e.apiserver import fixtures
from e2e.apiserver.fixtures import apiserver, pytest_runtest_makereport
from e2e.cluster import programs
from e2e.cluster.shell import Shell

from .release import cluster, namespaces

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
__all__ = ["apiserver", "cluster", "namespaces", "pytest_runtest_makereport"]

RunHelm = Callable[..., subprocess.CompletedProcess[str]]
Health = Callable[[Manifest], tuple[str, str]]
Refusal = Callable[[dict[str, Any]], str]

CHART = Path(__file__).parents[1] / "haldane"
OLDEST_HELM = (3, 18)
TEMPLATE = ("template", "haldane", str(CHART), "--namespace", "haldane-system")


@pytest.fixture(scope="session")
def chart() -> Path:
    """The folder of the chart."""
    return CHART


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return CHART.parents[1]


def new_enough(program: str) -> bool:
    """Whether a Helm words the faults of a schema as the tests expect, which is so from 3.18 on."""
    command = [program, "version", "--template", "{{.Version}}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST_HELM


def find_helm() -> str:
    """The `helm` of PATH when it is new enough, otherwise the one that the clusters use, built when it is not there yet."""
    found = shutil.which("helm")
    if found and new_enough(found):
        return found
    if not programs.HELM.ready():
        programs.HELM.get(Shell("helm"))
    return str(programs.HELM.path)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test: inside a fixture the test's own timeout would cut it short."""
    fixtures.pytest_collection_finish(session)
    if not session.config.option.collectonly and any(
        "helm" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        find_helm()


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of Helm."""
    return find_helm()


@pytest.fixture(scope="session")
def run_helm(helm: str, tmp_path_factory: pytest.TempPathFactory) -> RunHelm:
    """`helm` with arguments; `values` become a values file. Never raises: look at returncode, stdout and stderr."""
    folder = tmp_path_factory.mktemp("helm")
    home = {"HELM_CACHE_HOME": str(folder), "HELM_CONFIG_HOME": str(folder), "HELM_DATA_HOME": str(folder)}

    def run(
        *arguments: str, values: dict[str, Any] | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [helm, *arguments]
        if values is not None:
            command += ["--values", "-"]
        return subprocess.run(
            command,
            input=json.dumps(values) if values is not None else None,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **home, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(run_helm: RunHelm) -> Render:
    """The objects that the chart makes of some values, as Helm prints them."""

    def made(values: dict[str, Any] | None = None, *arguments: str) -> list[Manifest]:
        done = run_helm(*TEMPLATE, *arguments, values=values or {})
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return made


@pytest.fixture(scope="session")
def refusal(run_helm: RunHelm) -> Refusal:
    """What Helm says when it refuses some values."""

    def said(values: dict[str, Any]) -> str:
        done = run_helm(*TEMPLATE, values=values)
        assert done.returncode != 0, f"these values were accepted: {values}"
        return done.stderr

    return said


@pytest.fixture(scope="session")
def defaults(render: Render) -> list[Manifest]:
    """The objects of an installation that sets nothing."""
    return render()


@pytest.fixture(scope="session")
def health(chart: Path) -> Health:
    """Status and message that the script gives an object."""
    script = (chart / "files" / "argocd-health.lua").read_text()
    lua = lupa.lua51.LuaRuntime(unpack_returned_tuples=True)

    def judged(body: Manifest) -> tuple[str, str]:
        lua.globals().obj = lua.table_from(body, recursive=True)
        verdict = lua.execute(script)
        assert set(verdict) == {"status", "message"}
        return verdict["status"], verdict["message"]

    return judged
