"""The manifests: right images, the promised addresses, small enough for two cores."""

import itertools
from typing import Any

import pytest
import yaml

from e2e.cluster import add_ons, paths, ports
from e2e.cluster.record import Source

SOURCES: tuple[Source, ...] = ("registry", "built")


def everything(source: Source = "built") -> list[dict[str, Any]]:
    return list(itertools.chain.from_iterable(add_on.objects(source) for add_on in add_ons.ADD_ONS))


def find(kind: str, name: str) -> dict[str, Any]:
    return next(item for item in everything() if (item["kind"], item["metadata"]["name"]) == (kind, name))


def container(name: str) -> dict[str, Any]:
    found: dict[str, Any] = find("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_every_manifest_belongs_to_an_add_on() -> None:
    files = {file.stem for file in (paths.HERE / "addons").glob("*.yaml")}
    assert files == {add_on.name for add_on in add_ons.ADD_ONS}


@pytest.mark.parametrize("source", SOURCES)
def test_images_come_from_one_place(source: Source) -> None:
    images = [
        part["image"]
        for item in everything(source)
        if item["kind"] == "Deployment"
        for part in item["spec"]["template"]["spec"]["containers"]
    ]
    assert len(images) == len(add_ons.ADD_ONS)
    assert all(image.startswith("haldane.local/") == (source == "built") for image in images)
    assert not any(image.endswith(":latest") for image in images)


def test_what_is_applied_has_another_digest_when_it_changes() -> None:
    digests = [add_on.digest(source) for add_on in add_ons.ADD_ONS for source in SOURCES]
    assert len(set(digests)) == len(digests)


def test_services_open_the_ports_that_the_node_publishes() -> None:
    opened = {
        port["nodePort"]
        for item in everything()
        if item["kind"] == "Service" and item["spec"].get("type") == "NodePort"
        for port in item["spec"]["ports"]
    }
    assert opened == set(ports.NODE_PORTS.values())
    assert set(add_ons.PROBES) == set(ports.NODE_PORTS)


@pytest.mark.parametrize(
    ("name", "namespace", "port"),
    [("prometheus", "monitoring", 9090), ("s3", "storage", 8333), ("traefik", "traefik", 80)],
)
def test_the_addresses_inside_the_cluster(name: str, namespace: str, port: int) -> None:
    service = find("Service", name)
    assert service["metadata"]["namespace"] == namespace
    assert service["spec"]["ports"][0]["port"] == port


def test_every_workload_is_waited_for() -> None:
    found = {
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in everything()
        if item["kind"] == "Deployment"
    }
    assert found | {("kube-system", "coredns")} == set(add_ons.WORKLOADS)


def test_the_keys_of_the_s3_server() -> None:
    text = find("Secret", "s3")["stringData"]["s3.json"]
    assert yaml.safe_load(text)["identities"][0]["credentials"] == [
        {"accessKey": "demo-access", "secretKey": "demo-secret-key"}
    ]


def test_prometheus_scrapes_often_and_renames_nothing() -> None:
    settings = yaml.safe_load(find("ConfigMap", "prometheus")["data"]["prometheus.yml"])
    assert settings["global"]["scrape_interval"] == "2s"
    assert [job["honor_labels"] for job in settings["scrape_configs"]] == [True]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("traefik", "--providers.providersthrottleduration=250ms"),
        ("traefik", "--entrypoints.web.transport.lifecycle.requestacceptgracetimeout=5s"),
        ("traefik", "--providers.kubernetesingressnginx=true"),
        ("traefik", "--providers.kubernetesgateway=true"),
        ("metrics-server", "--kubelet-insecure-tls"),
        ("metrics-server", "--metric-resolution=15s"),
    ],
)
def test_arguments_that_others_rely_on(name: str, argument: str) -> None:
    assert argument in container(name)["args"]


def test_add_ons_are_small_and_unprivileged() -> None:
    cpu = 0
    for item in everything():
        if item["kind"] != "Deployment":
            continue
        pod = item["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for part in pod["containers"]:
            cpu += int(part["resources"]["requests"]["cpu"].removesuffix("m"))
            assert part["securityContext"]["readOnlyRootFilesystem"]
            assert "readinessProbe" in part
    assert cpu <= 200


def deployment(namespace: str, name: str, **status: int) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name, "generation": 2},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1, **status},
    }


@pytest.mark.parametrize("status", [{"observedGeneration": 1}, {"updatedReplicas": 0}, {"readyReplicas": 0}])
def test_a_workload_is_unready_until_its_newest_pod_is_ready(status: dict[str, int]) -> None:
    ready = [deployment(*workload) for workload in add_ons.WORKLOADS]
    namespace, name = add_ons.WORKLOADS[-1]
    assert add_ons.unready({"items": ready}) == []
    old = [*ready[:-1], deployment(namespace, name, **status)]
    assert add_ons.unready({"items": old}) == ["traefik"]
    assert add_ons.unready({"items": ready[1:]}) == ["coredns"]
