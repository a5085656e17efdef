"""The add-ons: their manifests with the right images, applied, and waited for."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import containers, node_image, paths, programs, toolchain, versions
from e2e.cluster.containers import Image
from e2e.cluster.errors import ClusterError
from e2e.cluster.kind import kubectl
from e2e.cluster.programs import Program
from e2e.cluster.record import Record, Source
from e2e.cluster.shell import Shell, ask

MANIFESTS = tuple(sorted((paths.HERE / "addons").glob("*.yaml")))

READY_SECONDS = 300
PULL_SECONDS = 900
"""The same where the node pulls the images first."""

DIGEST = "haldane-addons"
"""The ConfigMap in kube-system that tells which manifests were applied last."""

WORKLOADS = (
    ("kube-system", "coredns"),
    ("kube-system", "metrics-server"),
    ("monitoring", "prometheus"),
    ("storage", "seaweedfs"),
    ("traefik", "traefik"),
)

PROBES = {"ingress": ("/", 404), "prometheus": ("/-/ready", 200), "s3": ("/healthz", 200)}
"""For each service on the host a path and the status that it answers with when all is well; an ingress without routes
answers 404."""


@dataclass(frozen=True)
class AddOn:
    """One program of an add-on, as upstream's image and as the image made here."""

    program: Program
    upstream: str
    """What the manifest names."""
    target: str = ""

    @property
    def image(self) -> Image:
        version = self.program.folder.rpartition("-")[2]
        path = self.target or f"/usr/local/bin/{self.program.name}"
        key = containers.key("1", self.program.folder, path)
        return Image(f"{node_image.REPOSITORY}/{self.program.name}:{version}", key)

    def make(self, shell: Shell) -> None:
        containers.wrap(self.image, self.program.path, self.target or f"/usr/local/bin/{self.program.name}", shell)


ADD_ONS = (
    AddOn(programs.TRAEFIK, f"docker.io/library/traefik:{versions.TRAEFIK}"),
    AddOn(programs.PROMETHEUS, f"docker.io/prom/prometheus:{versions.PROMETHEUS}"),
    AddOn(programs.SEAWEEDFS, f"docker.io/chrislusf/seaweedfs:{versions.SEAWEEDFS}"),
    AddOn(
        programs.METRICS_SERVER,
        f"registry.k8s.io/metrics-server/metrics-server:{versions.METRICS_SERVER}",
        target="/metrics-server",
    ),
)


def render(source: Source, files: Iterable[Path] = MANIFESTS) -> list[dict[str, Any]]:
    """The manifests' objects, with images made here put in place of upstream's where no registry serves the node.

    Raises ClusterError when a manifest names an image that is not among the add-ons.
    """
    local = {add_on.upstream: add_on.image.tag for add_on in ADD_ONS}
    objects = [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]
    for item in objects:
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            if container["image"] not in local:
                raise ClusterError(
                    f"{item['metadata']['name']}: image {container['image']} is not one of the add-ons'."
                )
            if source == "built":
                container["image"] = local[container["image"]]
            container["imagePullPolicy"] = "IfNotPresent"
    return objects


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


def digest(source: Source) -> str:
    """A hash of everything that is applied."""
    return containers.key(json.dumps(render(source), sort_keys=True), versions.GATEWAY_API)


def applied(made: Record) -> str | None:
    """The digest of what was applied to the cluster last."""
    form = "jsonpath={.data.digest}"
    return ask(kubectl(made, "--namespace", "kube-system", "get", "configmap", DIGEST, "--output", form))


def apply(made: Record, shell: Shell) -> None:
    """Apply the CRDs, then the add-ons, and wait for their pods; then the APIs that the add-ons serve, and the note.

    The API server keeps a connection to whoever first answers for an API of an add-on. Asked too early, before kube-proxy
    knows the Service, that may be anyone out there: some networks answer for every address.
    """
    shell.say("the Gateway API's CRDs")
    shell.run(_apply(made, str(gateway_api())), seconds=120)
    shell.run(kubectl(made, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"), seconds=90)
    shell.say("manifests")
    objects = render(made.source)
    _send(made, [item for item in objects if item["kind"] != "APIService"], shell)
    # One node needs one DNS server.
    shell.run(kubectl(made, "--namespace", "kube-system", "scale", "deployment/coredns", "--replicas=1"), seconds=30)
    wait(made, shell, missing_workloads)
    _send(made, [item for item in objects if item["kind"] == "APIService"], shell)
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": DIGEST, "namespace": "kube-system"},
        "data": {"digest": digest(made.source)},
    }
    _send(made, [note], shell)


def _apply(made: Record, file: str) -> list[str]:
    options = ("--server-side", "--force-conflicts", "--field-manager=haldane-cluster", "--filename")
    return kubectl(made, "apply", *options, file)


def _send(made: Record, objects: list[dict[str, Any]], shell: Shell) -> None:
    shell.run(_apply(made, "-"), seconds=120, stdin=yaml.safe_dump_all(objects, sort_keys=False))


def unready(deployments: dict[str, Any]) -> list[str]:
    """The add-ons that are not at their full number of ready pods of the newest kind, from a list of Deployments."""
    found = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in deployments["items"]}
    names = []
    for namespace, name in WORKLOADS:
        item = found.get((namespace, name), {})
        status, wanted = item.get("status", {}), item.get("spec", {}).get("replicas", 1)
        current = status.get("observedGeneration", 0) >= item.get("metadata", {}).get("generation", 1)
        if not current or status.get("updatedReplicas", 0) < wanted or status.get("readyReplicas", 0) < wanted:
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
    return applied(made) == digest(made.source) and not missing(made)


def wait(made: Record, shell: Shell, left: Callable[[Record], list[str]] = missing) -> None:
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
