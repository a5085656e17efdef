"""The kind cluster itself: its configuration, and bringing it to the state "the API server answers"."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import containers, host, node_image, paths, ports, programs, record
from e2e.cluster.errors import ClusterError
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell, ask

CREATE_SECONDS = 600
REVIVE_SECONDS = 90
READY_SECONDS = 120

PATCHES = "/kind/patches"
"""Where the node finds the patches of the control plane's pods."""


def configuration(made: Record, patches: Path, *, cgroup_v1: bool) -> dict[str, Any]:
    """kind's configuration: one node, its ports on 127.0.0.1, and what the image and the kernel ask for."""
    built = made.source == "built"
    mappings = [
        {"containerPort": inside, "hostPort": made.ports[name], "listenAddress": "127.0.0.1", "protocol": "TCP"}
        for name, inside in ports.NODE_PORTS.items()
    ]
    machine: dict[str, Any] = {
        "role": "control-plane",
        "extraPortMappings": mappings,
        "extraMounts": [{"hostPath": str(patches), "containerPath": PATCHES, "readOnly": True}],
    }
    kubeadm: list[dict[str, Any]] = [{"kind": "InitConfiguration", "patches": {"directory": PATCHES}}]
    if cgroup_v1 or built:
        kubelet = {"kind": "KubeletConfiguration", "cgroupDriver": "cgroupfs"}
        kubeadm.append({**kubelet, "failCgroupV1": False} if cgroup_v1 else kubelet)
    if built:
        machine["image"] = node_image.image().tag
        kubeadm.append(
            {
                "kind": "ClusterConfiguration",
                "imageRepository": node_image.REPOSITORY,
                "dns": {"imageTag": node_image.component(programs.COREDNS).reference.rpartition(":")[2]},
                "etcd": {"local": {"imageTag": node_image.component(programs.ETCD).reference.rpartition(":")[2]}},
            }
        )
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": made.name,
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "apiServerPort": made.ports["api"],
            # The image built here has the plain bridge plugin and its configuration; kind's own brings kindnet.
            "disableDefaultCNI": built,
        },
        "nodes": [machine],
        "kubeadmConfigPatches": [yaml.safe_dump(patch, sort_keys=False) for patch in kubeadm],
    }


def control_plane_patches() -> dict[str, str]:
    """JSON patches of kubeadm's static pods, by file name.

    On two cores the usual requests (0.65 of a core) would leave little room for models. A lone control plane needs no leader
    election, and a throw-away etcd no flush to disk.
    """
    flags = {
        "etcd": ["--unsafe-no-fsync=true"],
        "kube-apiserver": [],
        "kube-controller-manager": ["--leader-elect=false"],
        "kube-scheduler": ["--leader-elect=false"],
    }
    patches = {}
    for name, added in flags.items():
        small = {"op": "add", "path": "/spec/containers/0/resources/requests/cpu", "value": "25m"}
        appended = [{"op": "add", "path": "/spec/containers/0/command/-", "value": flag} for flag in added]
        patches[f"{name}+json.json"] = json.dumps([small, *appended])
    return patches


def kubectl(made: Record, *words: str) -> list[str]:
    """The command that talks to this cluster and to no other."""
    return [made.kubectl, "--kubeconfig", made.kubeconfig, "--context", made.context, *words]


def answers(made: Record) -> bool:
    """Whether the API server says that it is ready."""
    return ask(kubectl(made, "get", "--raw", "/readyz", "--request-timeout=5s"), seconds=10) == "ok"


def runs(name: str) -> bool:
    """Whether the cluster was completed, its node runs and its API server answers."""
    made = record.read(name)
    return bool(made and made.complete and containers.container_state(made.node) == "running" and answers(made))


def rests(made: Record) -> bool:
    """Whether a completed cluster is there that does not answer, after a restart of the machine for example."""
    return made.complete and containers.container_state(made.node) is not None and not runs(made.name)


def wake(made: Record, shell: Shell) -> None:
    """Start a resting cluster again; one that does not come back is removed, so that it is created anew."""
    shell.run(["docker", "start", made.node], seconds=60)
    with contextlib.suppress(ClusterError):
        shell.wait("the API server of the restarted node", lambda: answers(made), seconds=REVIVE_SECONDS)
    if not answers(made):
        remove(made, shell)


def create(made: Record, shell: Shell) -> None:
    """Create the cluster, in place of what an interrupted attempt has left.

    A first failure is told, and all is tried once more from the beginning: kubeadm gives up on a machine that is too busy.
    """
    remove(made, shell)
    folder = paths.cluster(made.name)
    patches = folder / "patches"
    for file, text in control_plane_patches().items():
        paths.write(patches / file, text)
    described = configuration(made, patches, cgroup_v1=host.cgroup_v1())
    paths.write(folder / "kind.yaml", yaml.safe_dump(described, sort_keys=False))
    shell.say("kubeadm sets up the control plane")
    options = ["--config", folder / "kind.yaml", "--kubeconfig", made.kubeconfig, "--retain"]
    for is_last in (False, True):
        try:
            shell.run([programs.KIND.path, "create", "cluster", *options], seconds=CREATE_SECONDS)
            break
        except ClusterError as error:
            if is_last or shell.stopped:
                # The node was kept so that it can tell; the next attempt removes it.
                journal = ["docker", "exec", made.node, "journalctl", "--no-pager", "--lines=15", "--priority=warning"]
                raise ClusterError(f"{error}\nThe node's own words:\n{ask(journal) or '    none'}") from error
            shell.tell(f"kind could not create the cluster (see {shell.log}); deleting it and trying once more.")
            remove(made, shell)
    if made.source == "registry":
        shell.run(["docker", "cp", f"{made.node}:/usr/bin/kubectl", made.kubectl], seconds=60)
    shell.say("waiting for the API server")
    shell.wait("the API server", lambda: answers(made), seconds=READY_SECONDS)
    record.save(dataclasses.replace(made, complete=True))


def remove(made: Record, shell: Shell) -> None:
    """Delete the node with its volumes; nothing happens when there is none."""
    if containers.container_state(made.node):
        shell.say("deleting the node")
        shell.run(["docker", "rm", "--force", "--volumes", made.node], seconds=120)
    if made.complete:
        record.save(dataclasses.replace(made, complete=False))
