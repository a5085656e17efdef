"""docs/install.md, executed: its files are written, and its commands run in their order, against a real kube-apiserver.

A block whose first line reads "```yaml file=NAME" becomes that file; one that reads "```sh run" is run. Blocks of plain `sh` need nodes or a registry.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from e2e.apiserver.server import ApiServer
from e2e.cluster import programs

DOCUMENT = "docs/install.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 120


def blocks(repository: Path) -> list[tuple[str, str, str]]:
    return [(match[1], match[2] or "", match[3]) for match in BLOCK.finditer((repository / DOCUMENT).read_text())]


def until_explained(apiserver: ApiServer, explained: bool) -> None:
    """Where a reader waits for the operator's pod, which is not run here, the API server publishes the new schema.

    And before: that of a CRD which was deleted a moment ago is published a little longer, and goes after the new one has come.
    """
    deadline = time.monotonic() + SECONDS
    while ((done := apiserver.kubectl("explain", "modeldeployment")).returncode == 0) is not explained:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.5)


def remove_releases(helm: str, environment: dict[str, str]) -> None:
    for namespace in ("haldane-system", "team"):
        command = [helm, "uninstall", "haldane", "--namespace", namespace, "--ignore-not-found"]
        subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS, check=False)


@pytest.mark.api
def test_every_command_that_needs_no_node_works_in_order(
    apiserver: ApiServer, helm: str, repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "helm").symlink_to(helm)
    (tools / "kubectl").symlink_to(programs.KUBECTL.path)
    for folder in ("charts", "crds", "examples"):
        (tmp_path / folder).symlink_to(repository / folder)
    # What an installation of Argo CD has.
    apiserver.kubectl("create", "namespace", "argocd")
    apiserver.kubectl("create", "configmap", "argocd-cm", "--namespace", "argocd", "--from-literal=admin.enabled=true")
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(apiserver.kubeconfig()),
    }
    request.addfinalizer(lambda: remove_releases(helm, environment))
    until_explained(apiserver, False)
    ran = 0
    for language, mark, text in blocks(repository):
        if mark.startswith("file="):
            (tmp_path / mark.removeprefix("file=")).write_text(text)
        if "rollout status" in text:
            until_explained(apiserver, True)
        if (language, mark) == ("sh", "run"):
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            ran += 1
    assert ran >= 10
    left = apiserver.kubectl("get", "configmap", "argocd-cm", "--namespace", "argocd", "--output", "yaml")
    data = yaml.safe_load(left.stdout)["data"]
    script = (repository / "charts/haldane/files/argocd-health.lua").read_text()
    assert data == {
        "admin.enabled": "true",
        "resource.customizations.health.haldane.dev_ModelDeployment": script,
    }


def test_every_block_says_what_is_done_with_it(repository: Path) -> None:
    for language, mark, text in blocks(repository):
        assert mark in {"", "run"} or mark.startswith("file="), text
        if mark.startswith("file="):
            assert isinstance(yaml.safe_load(text), dict), text
        assert language in {"sh", "yaml"}, text


def test_every_link_leads_somewhere(repository: Path) -> None:
    document = repository / DOCUMENT
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in document.read_text().splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        if path:
            assert (document.parent / path).exists(), target
        else:
            assert anchor in headings, target


def test_every_value_that_it_names_exists(repository: Path) -> None:
    values = yaml.safe_load((repository / "charts/haldane/values.yaml").read_text())
    table = (repository / DOCUMENT).read_text().partition("## Values that matter")[2].partition("\n## ")[0]
    named = [
        name
        for line in table.splitlines()
        for name in re.findall(r"`([^`]+)`", line.split("|")[1] if "|" in line else "")
    ]
    assert len(named) > 10
    for name in named:
        here = values
        for part in name.split("."):
            assert part in here, name
            here = here[part]
