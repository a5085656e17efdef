"""kind's configuration for both sources of images and both layouts of control groups."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import kind, node_image, paths, ports, programs, versions
from e2e.cluster.record import Record, Source

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
