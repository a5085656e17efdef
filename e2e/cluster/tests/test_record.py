"""What is remembered of a cluster, and the file by which it is found."""

import json

import pytest

from e2e.cluster import addresses, paths, record


def test_clusters_of_two_names_share_no_port() -> None:
    first = record.new("one", "built", lambda _: True)
    colliding = first.ports.values()
    second = record.new("two", "built", lambda port: port not in colliding or pytest.fail("asked for a taken port"))
    assert set(first.ports.values()).isdisjoint(second.ports.values())
    assert record.read("one") == first
    assert record.others("one") == [second]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"name": "x", "source": "built", "ports": {}}'])
def test_a_broken_record_is_none(text: str) -> None:
    paths.write(paths.cluster("x") / record.FILE, text)
    assert record.read("x") is None
    assert record.others("y") == []


def test_the_address_file_has_what_was_promised() -> None:
    made = record.new("demo", "built", lambda _: True)
    assert not addresses.written(made)
    addresses.write(made)
    assert addresses.written(made)
    found = json.loads(addresses.file("demo").read_text())
    assert list(found) == [
        "name", "kubeconfig", "context", "ingress_url", "prometheus_url", "s3_url", "kubectl", "helm",
    ]  # fmt: skip
    assert found["ingress_url"] == f"http://127.0.0.1:{made.ports['ingress']}"
    assert found["kubeconfig"] == str(paths.home() / "clusters" / "demo" / "kubeconfig")
    assert found["kubectl"].endswith("/kubectl")


def test_kubectl_has_the_nodes_version() -> None:
    made = record.new("demo", "registry", lambda _: True)
    assert made.kubectl == str(paths.cluster("demo") / "kubectl")


@pytest.mark.parametrize(
    ("text", "version"), [("v4.3.1", (4, 3)), ("v3.18.0+g1", (3, 18)), ("", (0, 0)), ("Client: 3", (0, 0))]
)
def test_helm_versions(text: str, version: tuple[int, int]) -> None:
    assert addresses.helm_version(text) == version
