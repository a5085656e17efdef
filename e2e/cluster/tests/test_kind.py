"""kind's configuration for both sources of images and both layouts of control groups."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import kind, node_image, paths, ports, programs, record, versions
from e2e.cluster.errors import ClusterError
from e2e.cluster.record import Record, Source
from e2e.cluster.shell import Shell

PORTS = dict(zip(ports.NAMES, (20001, 20002, 20003, 20004), strict=True))


def configuration(source: Source, *, cgroup_v1: bool = False) -> dict[str, Any]:
    return kind.configuration(Record("demo", source, PORTS), Path("/patches"), cgroup_v1=cgroup_v1)


def patch(described: dict[str, Any], of: str) -> dict[str, Any]:
    patches = [yaml.safe_load(text) for text in described["kubeadmConfigPatches"]]
    return next((found for found in patches if found["kind"] == of), {})


@pytest.mark.parametrize("source", ["registry", "built"])
def test_every_port_listens_on_this_machine_alone(source: Source) -> None:
    described = configuration(source)
    assert described["networking"]["apiServerAddress"] == "127.0.0.1"
    assert described["networking"]["apiServerPort"] == PORTS["api"]
    mappings = described["nodes"][0]["extraPortMappings"]
    assert {mapping["listenAddress"] for mapping in mappings} == {"127.0.0.1"}
    assert {mapping["hostPort"]: mapping["containerPort"] for mapping in mappings} == {
        PORTS[name]: inside for name, inside in ports.NODE_PORTS.items()
    }


def test_a_registrys_node_image_is_kinds_own() -> None:
    described = configuration("registry")
    assert "image" not in described["nodes"][0]
    assert not described["networking"]["disableDefaultCNI"]
    assert patch(described, "ClusterConfiguration") == {}
    assert patch(described, "KubeletConfiguration") == {}


def test_a_built_node_image_names_the_images_it_holds() -> None:
    described = configuration("built")
    assert described["nodes"][0]["image"] == f"haldane.local/node:{versions.KUBERNETES}"
    cluster = patch(described, "ClusterConfiguration")
    held = {node_image.component(program).reference for program in programs.CONTROL_PLANE}
    assert f"{cluster['imageRepository']}/coredns:{cluster['dns']['imageTag']}" in held
    assert f"{cluster['imageRepository']}/etcd:{cluster['etcd']['local']['imageTag']}" in held


@pytest.mark.parametrize(
    ("source", "cgroup_v1", "driver", "tolerated"),
    [
        ("registry", False, None, None),
        ("registry", True, "cgroupfs", False),
        ("built", False, "cgroupfs", None),
        ("built", True, "cgroupfs", False),
    ],
)
def test_kubelet_and_control_groups(
    source: Source, cgroup_v1: bool, driver: str | None, tolerated: bool | None
) -> None:
    kubelet = patch(configuration(source, cgroup_v1=cgroup_v1), "KubeletConfiguration")
    assert kubelet.get("cgroupDriver") == driver
    assert kubelet.get("failCgroupV1") == tolerated


def test_the_nodes_containerd_knows_the_pause_image() -> None:
    settings = tomllib.loads((paths.HERE / "node" / "containerd.toml").read_text())
    sandbox = settings["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"]
    assert sandbox == node_image.component(programs.PAUSE).reference


def test_control_plane_patches_only_add() -> None:
    patches = kind.control_plane_patches()
    assert all(name.endswith("+json.json") for name in patches)
    operations = [operation for text in patches.values() for operation in json.loads(text)]
    assert {operation["op"] for operation in operations} == {"add"}


def test_kubectl_never_talks_to_another_cluster() -> None:
    command = kind.kubectl(Record("demo", "built", PORTS), "get", "pods")
    assert command[1:5] == ["--kubeconfig", str(paths.cluster("demo") / "kubeconfig"), "--context", "kind-demo"]


def test_nothing_runs_without_a_record() -> None:
    assert not kind.runs("never-made")


@pytest.fixture
def calls(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What kind and docker were called with; a `kind` that leaves a node behind and fails FAILURES times."""
    calls, node, bin_folder = cache / "calls", cache / "node", cache / "bin"
    scripts = {
        programs.KIND.path: f"""
            echo "kind $1 $2" >> {calls}; touch {node}
            test $(grep -c ^kind {calls}) -gt $FAILURES""",
        programs.KUBECTL.path: "printf ok",
        bin_folder / "docker": f"""
            case "$1" in
            container) test -e {node} && echo running ;;
            rm) echo "docker $*" >> {calls}; rm {node} ;;
            exec) echo "the kubelet is busy" ;;
            esac""",
    }
    for file, script in scripts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=":")
    return calls


CREATED = "kind create cluster"
DELETED = "docker rm --force --volumes demo-control-plane"


@pytest.mark.parametrize(("failures", "called"), [(0, [CREATED]), (1, [CREATED, DELETED, CREATED])])
def test_a_cluster_that_cannot_be_created_is_tried_once_more(
    calls: Path, monkeypatch: pytest.MonkeyPatch, failures: int, called: list[str]
) -> None:
    monkeypatch.setenv("FAILURES", str(failures))
    told: list[str] = []
    kind.create(Record("demo", "built", PORTS), Shell("cluster", tell=told.append))
    assert calls.read_text().splitlines() == called
    assert [text.partition(" (")[0] for text in told] == ["kind could not create the cluster"] * failures
    made = record.read("demo")
    assert made is not None
    assert made.complete


def test_a_cluster_that_cannot_be_created_twice_is_given_up(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILURES", "2")
    with pytest.raises(ClusterError, match="ended with status 1") as raised:
        kind.create(Record("demo", "built", PORTS), Shell("cluster"))
    assert "The node's own words:\nthe kubelet is busy" in str(raised.value)
    assert calls.read_text().splitlines() == [CREATED, DELETED, CREATED]
    assert record.read("demo") is None


def test_a_cluster_that_nobody_waits_for_is_not_tried_again(calls: Path) -> None:
    told: list[str] = []
    shell = Shell("cluster", tell=told.append)
    shell.stop()
    with pytest.raises(ClusterError, match="Stopped before"):
        kind.create(Record("demo", "built", PORTS), shell)
    assert not calls.exists()
    assert told == []
