"""The add-ons: their manifests with the right images, applied, and waited for."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import containers, load, node_image, paths, programs, toolchain, versions
from e2e.cluster.errors import ClusterError
from e2e.cluster.kind import kubectl
from e2e.cluster.oci import ProgramImage
from e2e.cluster.programs import Program
from e2e.cluster.record import Record, Source
from e2e.cluster.shell import Shell, ask

READY_SECONDS = 300
PULL_SECONDS = 900
"""The same where the node pulls the images first."""

NOTES = "haldane-addons"
"""The ConfigMap in kube-system with the digest of each manifest as it was last applied."""

WORKLOADS = (
    ("kube-system", "coredns"),
    ("kube-system", "metrics-server"),
    ("monitoring", "prometheus"),
    ("storage", "seaweedfs"),
    ("traefik", "traefik"),
)

PROBES = {"ingress": ("/", 404), "prometheus": ("/-/ready", 200), "s3": ("/healthz", 200)}
"""For each service on the host a path, and the status with which it answers when all is well; an ingress without routes
answers 404."""


@dataclass(frozen=True)
class AddOn:
    """One program with its manifest, `addons/<name>.yaml`."""

    name: str
    program: Program
    upstream: str
    """The image that the manifest names."""
    target: str
    """Where the manifest's command finds the program in an image made here."""

    @property
    def image(self) -> ProgramImage:
        version = self.program.folder.rpartition("-")[2]
        return ProgramImage(f"{node_image.REPOSITORY}/{self.name}:{version}", self.program.path, self.target)

    @property
    def identity(self) -> str:
        """What tells this image from another of the same name."""
        return containers.key("1", self.program.folder, self.target)

    def objects(self, source: Source) -> list[dict[str, Any]]:
        """The manifest's objects, with the image made here in place of upstream's where no registry serves the node.

        Raises ClusterError when the manifest names another image.
        """
        text = (paths.HERE / "addons" / f"{self.name}.yaml").read_text()
        objects = [document for document in yaml.safe_load_all(text) if document]
        for item in objects:
            for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                if container["image"] != self.upstream:
                    raise ClusterError(f"addons/{self.name}.yaml names {container['image']}, not {self.upstream}.")
                container["imagePullPolicy"] = "IfNotPresent"
                if source == "built":
                    container["image"] = self.image.reference
        return objects

    def digest(self, source: Source) -> str:
        """A hash of everything that is applied."""
        return containers.key(json.dumps(self.objects(source), sort_keys=True))


# metrics-server first: it measures for a while before it is ready, and the others can be loaded meanwhile.
ADD_ONS = (
    AddOn(
        "metrics-server",
        programs.METRICS_SERVER,
        f"registry.k8s.io/metrics-server/metrics-server:{versions.METRICS_SERVER}",
        "/metrics-server",
    ),
    AddOn(
        "seaweedfs", programs.SEAWEEDFS, f"docker.io/chrislusf/seaweedfs:{versions.SEAWEEDFS}", "/usr/local/bin/weed"
    ),
    AddOn("traefik", programs.TRAEFIK, f"docker.io/library/traefik:{versions.TRAEFIK}", "/usr/local/bin/traefik"),
    AddOn(
        "prometheus",
        programs.PROMETHEUS,
        f"docker.io/prom/prometheus:{versions.PROMETHEUS}",
        "/usr/local/bin/prometheus",
    ),
)


def gateway_api() -> Path:
    """The file with the Gateway API's standard CRDs."""
    return paths.downloads() / f"gateway-api-{versions.GATEWAY_API}.yaml"


def fetch_gateway_api(shell: Shell) -> None:
    """Take the CRDs out of the Gateway API's Go module, which publishes them."""
    module = toolchain.module_folder("sigs.k8s.io/gateway-api", versions.GATEWAY_API, shell)
    files = sorted((module / "config" / "crd" / "standard").glob("*.yaml"))
    if not files:
        raise ClusterError(f"{module} holds no CRDs in config/crd/standard.")
    paths.write(gateway_api(), "\n---\n".join(file.read_text() for file in files))


def notes(made: Record) -> dict[str, str]:
    """What was applied to the cluster: digests by add-on, and the version of the CRDs."""
    text = ask(kubectl(made, "--namespace", "kube-system", "get", "configmap", NOTES, "--output", "json"))
    return dict(json.loads(text)["data"]) if text else {}


def expected(source: Source) -> dict[str, str]:
    """The notes of a cluster on which everything is current."""
    return {"gateway-api": versions.GATEWAY_API, **{add_on.name: add_on.digest(source) for add_on in ADD_ONS}}


def current(made: Record, name: str) -> bool:
    """Whether an add-on, or the Gateway API, was applied as it is now."""
    return notes(made).get(name) == expected(made.source)[name]


def apply_gateway_api(made: Record, shell: Shell) -> None:
    shell.run(_apply(made, "crds", str(gateway_api())), seconds=120)
    shell.run(kubectl(made, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"), seconds=90)
    _note(made, "gateway-api", shell)


def start(add_on: AddOn, made: Record, shell: Shell) -> None:
    """Give the node the add-on's image and apply its manifest, all but the APIs that it serves."""
    if made.source == "built":
        shell.say(f"loading {add_on.image.reference}")
        load.load_program(made.node, add_on.image, add_on.identity, shell)
    _send(made, [item for item in add_on.objects(made.source) if item["kind"] != "APIService"], shell)
    _note(made, add_on.name, shell)


def finish(made: Record, shell: Shell) -> None:
    """Wait for the add-ons' pods, then add the APIs that they serve and wait for the whole.

    The API server keeps a connection to whoever first answers for an API of an add-on. Asked too early, before kube-proxy
    knows the Service, that may be anyone out there: some networks answer for every address.
    """
    # One node needs one DNS server.
    shell.run(kubectl(made, "--namespace", "kube-system", "scale", "deployment/coredns", "--replicas=1"), seconds=30)
    wait(made, shell, missing_workloads)
    served = [item for add_on in ADD_ONS for item in add_on.objects(made.source) if item["kind"] == "APIService"]
    _send(made, served, shell)
    wait(made, shell, missing)


def _apply(made: Record, manager: str, file: str) -> list[str]:
    options = ("--server-side", "--force-conflicts", f"--field-manager=haldane-cluster-{manager}", "--filename", file)
    return kubectl(made, "apply", *options)


def _send(made: Record, objects: list[dict[str, Any]], shell: Shell, manager: str = "add-ons") -> None:
    shell.run(_apply(made, manager, "-"), seconds=120, stdin=yaml.safe_dump_all(objects, sort_keys=False))


def _note(made: Record, name: str, shell: Shell) -> None:
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NOTES, "namespace": "kube-system"},
        "data": {name: expected(made.source)[name]},
    }
    # A manager of its own for each line: server-side apply then leaves the others' alone.
    _send(made, [note], shell, name)


def unready(deployments: dict[str, Any]) -> list[str]:
    """The add-ons that are not at their full number of ready pods of the newest kind, from a list of Deployments."""
    found = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in deployments["items"]}
    names = []
    for namespace, name in WORKLOADS:
        item = found.get((namespace, name), {})
        status, wanted = item.get("status", {}), item.get("spec", {}).get("replicas", 1)
        observed = status.get("observedGeneration", 0) >= item.get("metadata", {}).get("generation", 1)
        if not observed or status.get("updatedReplicas", 0) < wanted or status.get("readyReplicas", 0) < wanted:
            names.append(name)
    return names


def missing_workloads(made: Record) -> list[str]:
    """The workloads that are not ready yet."""
    text = ask(kubectl(made, "get", "deployments", "--all-namespaces", "--output", "json"))
    return ["the API server"] if text is None else unready(json.loads(text))


def missing(made: Record) -> list[str]:
    """What is not ready yet: workloads, then the services as seen from this machine, then the metrics API."""
    if names := missing_workloads(made):
        return names
    silent = [name for name, (path, status) in PROBES.items() if _status(made.url(name) + path) != status]
    if silent:
        return [f"{name} at {made.url(name)}" for name in silent]
    metrics = ask(kubectl(made, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"))
    return [] if metrics and json.loads(metrics)["items"] else ["the node's first metrics"]


def ready(made: Record) -> bool:
    """Whether every add-on is current and ready."""
    return expected(made.source).items() <= notes(made).items() and not missing(made)


def wait(made: Record, shell: Shell, left: Callable[[Record], list[str]]) -> None:
    """Wait until nothing is `left`. Raises ClusterError that names it and shows the pods' states and the last events."""

    def none_left() -> bool:
        names = left(made)
        shell.say("waiting for " + ", ".join(names))
        return not names

    try:
        shell.wait("the add-ons", none_left, seconds=READY_SECONDS if made.source == "built" else PULL_SECONDS)
    except ClusterError as error:
        pods = ask(kubectl(made, "get", "pods", "--all-namespaces", "--output", "wide")) or ""
        events = ask(kubectl(made, "get", "events", "--all-namespaces", "--sort-by=.lastTimestamp")) or ""
        last = "\n".join(events.splitlines()[-15:])
        raise ClusterError(f"{error}\nNot ready: {', '.join(left(made))}\n{pods}\n{last}") from error


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=3) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
