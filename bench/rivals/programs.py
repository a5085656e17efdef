"""Flagger and Argo Rollouts: compiled from their Go modules, and installed from the manifests in them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from bench.rivals.flagger import PROMETHEUS
from e2e.cluster import containers, load, node_image, plan, toolchain
from e2e.cluster.oci import ProgramImage
from e2e.cluster.programs import COMPILE_SECONDS, GoProgram, Program
from e2e.cluster.progress import Progress
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell
from e2e.cluster.steps import Step, execute

Manifest = dict[str, Any]

FLAGGER: Final = "v1.36.1"
ARGO: Final = "v1.10.1"
_USER: Final = 65532
_APPLY_SECONDS: Final = 120
_READY_SECONDS: Final = 180


@dataclass(frozen=True)
class OwnModuleProgram(Program):
    """Built in its module's own folder, whose go.mod has replacements: `go install` refuses it from outside."""

    module: str
    version: str
    package: str

    def get(self, shell: Shell) -> None:
        source = toolchain.module_folder(self.module, self.version, shell)
        with tempfile.TemporaryDirectory(prefix="haldane-") as folder:
            made = Path(folder) / self.name
            command = [toolchain.go(shell), "build", "-trimpath", "-ldflags=-s -w", "-o", made, self.package]
            shell.run(command, seconds=COMPILE_SECONDS, cwd=source, env={"CGO_ENABLED": "0", "GOWORK": "off"})
            self._publish(made)


@dataclass(frozen=True)
class Rival:
    """One of the other controllers, as it is installed."""

    name: str
    program: Program
    module: str
    version: str
    files: tuple[str, ...]
    namespace: str
    adapt: Callable[[Manifest], None]
    """Changes one of its objects for this cluster."""

    @property
    def image(self) -> ProgramImage:
        target = f"/usr/local/bin/{self.program.name}"
        return ProgramImage(f"{node_image.REPOSITORY}/{self.name}:{self.version}", self.program.path, target)

    def objects(self, module: Path) -> list[Manifest]:
        """Its manifests, with the image made here, in its own namespace."""
        documents = [each for file in self.files for each in yaml.safe_load_all((module / file).read_text()) if each]
        for each in documents:
            self.adapt(each)
            for subject in each.get("subjects", []):
                subject["namespace"] = self.namespace
            if each["kind"] in _NAMESPACED:
                each["metadata"]["namespace"] = self.namespace
            if each["kind"] == "Deployment":
                (container,) = each["spec"]["template"]["spec"]["containers"]
                container |= {"image": self.image.reference, "imagePullPolicy": "IfNotPresent"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        return [namespace, *documents]


_NAMESPACED: Final = ("ConfigMap", "Deployment", "Secret", "Service", "ServiceAccount")


def _adapt_flagger(item: Manifest) -> None:
    if item["kind"] != "Deployment":
        return
    template = item["spec"]["template"]
    template["metadata"].pop("annotations", None)
    (container,) = template["spec"]["containers"]
    # Its probes call wget, which an image of the program alone has not.
    for probe in ("livenessProbe", "readinessProbe"):
        container.pop(probe)
    container["command"] = ["/usr/local/bin/flagger"]
    container["args"] = ["-log-level=info", "-mesh-provider=nginx", f"-metrics-server={PROMETHEUS}"]


def _adapt_argo(item: Manifest) -> None:
    if item["kind"] == "Deployment":
        # Its own image says which user that is.
        item["spec"]["template"]["spec"]["securityContext"]["runAsUser"] = _USER


RIVALS: Final = {
    "flagger": Rival(
        "flagger",
        GoProgram("flagger", f"flagger-{FLAGGER}", "github.com/fluxcd/flagger/cmd/flagger", FLAGGER),
        "github.com/fluxcd/flagger",
        FLAGGER,
        ("artifacts/flagger/crd.yaml", "artifacts/flagger/account.yaml", "artifacts/flagger/deployment.yaml"),
        "flagger-system",
        _adapt_flagger,
    ),
    "argo": Rival(
        "argo-rollouts",
        OwnModuleProgram(
            "rollouts-controller",
            f"argo-rollouts-{ARGO}",
            "github.com/argoproj/argo-rollouts",
            ARGO,
            "./cmd/rollouts-controller",
        ),
        "github.com/argoproj/argo-rollouts",
        ARGO,
        ("manifests/install.yaml",),
        "argo-rollouts",
        _adapt_argo,
    ),
}


def compile_missing(names: list[str]) -> None:
    """Have the programs in the cache: some minutes each, the first time. Raises ClusterError."""
    steps = [plan.program_step(RIVALS[name].program) for name in names]
    todo = [step for step in steps if not step.done()]
    if todo:
        with Progress() as progress:
            execute(todo, [], progress)


def install(names: list[str], made: Record) -> None:
    """Compile what is missing, give the node the images, and apply the manifests. Raises ClusterError."""
    compile_missing(names)
    steps = [Step(f"install-{name}", f"Install {name}", partial(_install, RIVALS[name], made)) for name in names]
    with Progress() as progress:
        execute(steps, [], progress)


def remove(names: list[str], made: Record) -> None:
    """Take the controllers away again; their APIs go with them."""
    for name in names:
        rival = RIVALS[name]
        shell = Shell(f"remove-{name}")
        module = toolchain.module_folder(rival.module, rival.version, shell)
        text = yaml.safe_dump_all(rival.objects(module), sort_keys=False)
        words = ("delete", "--ignore-not-found", "--wait=false", "--filename", "-")
        shell.run(_kubectl(made, *words), seconds=_APPLY_SECONDS, stdin=text)


def installed(name: str, made: Record) -> bool:
    """Whether the controller's Deployment is on the cluster."""
    rival = RIVALS[name]
    command = _kubectl(made, "get", "deployments", "-n", rival.namespace, "-o", "name")
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def _install(rival: Rival, made: Record, shell: Shell) -> None:
    identity = containers.key("1", rival.program.folder, rival.image.target)
    load.load_program(made.node, rival.image, identity, shell)
    module = toolchain.module_folder(rival.module, rival.version, shell)
    text = yaml.safe_dump_all(rival.objects(module), sort_keys=False)
    words = ("apply", "--server-side", "--force-conflicts", "--filename", "-")
    shell.run(_kubectl(made, *words), seconds=_APPLY_SECONDS, stdin=text)
    ready = ("-n", rival.namespace, "rollout", "status", "deployment", "--timeout=150s")
    shell.run(_kubectl(made, *ready), seconds=_READY_SECONDS)


def _kubectl(made: Record, *words: str) -> list[str]:
    return [made.kubectl, "--kubeconfig", made.kubeconfig, "--context", made.context, *words]
