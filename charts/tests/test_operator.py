"""The operator's Deployment: what runs, as whom, and with which settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from haldane import settings

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def environment(manifests: list[Manifest]) -> dict[str, str]:
    return {entry["name"]: entry.get("value") for entry in pod(manifests)["containers"][0]["env"]}


def test_one_operator_runs_and_an_upgrade_stops_it_before_the_next_starts(defaults: list[Manifest]) -> None:
    spec = only(defaults, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_every_pod_of_the_release_meets_the_restricted_pod_security_standard(defaults: list[Manifest]) -> None:
    for spec in (pod(defaults), only(defaults, "Pod")["spec"]):
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def test_the_selector_finds_the_operator_and_not_the_test_pod(defaults: list[Manifest]) -> None:
    selector = only(defaults, "Deployment")["spec"]["selector"]["matchLabels"].items()
    assert selector <= only(defaults, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert not selector <= only(defaults, "Pod")["metadata"]["labels"].items()


def test_the_pod_template_does_not_change_with_the_version_of_the_chart(defaults: list[Manifest]) -> None:
    labels = only(defaults, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert "helm.sh/chart" not in labels


def test_it_asks_for_little(defaults: list[Manifest]) -> None:
    assert pod(defaults)["containers"][0]["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"memory": "256Mi"},
    }


def test_all_three_probes_look_at_the_probe_port(defaults: list[Manifest]) -> None:
    container = pod(defaults)["containers"][0]
    assert container["ports"] == [{"name": "probes", "containerPort": 8090, "protocol": "TCP"}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert settings.load(environment(defaults)).health_port == 8090


def test_images_follow_the_version_of_the_chart_when_nothing_is_set(defaults: list[Manifest]) -> None:
    assert pod(defaults)["containers"][0]["image"] == "haldane/operator:0.1.0"
    assert environment(defaults)["HALDANE_RUNTIME_IMAGE"] == "haldane/runtime:0.1.0"
    assert environment(defaults)["HALDANE_RUNTIME_GPU_IMAGE"] == "haldane/runtime-gpu:0.1.0"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"tag": "dev"}, "haldane/operator:dev"),
        ({"repository": "registry.example.com/haldane", "tag": "1"}, "registry.example.com/haldane:1"),
        ({"tag": "dev", "digest": "sha256:" + "0" * 64}, "haldane/operator@sha256:" + "0" * 64),
    ],
)
def test_the_image_is_chosen_by_digest_then_tag(render: Render, image: dict[str, str], expected: str) -> None:
    made = render({"image": image})
    assert pod(made)["containers"][0]["image"] == expected
    assert only(made, "Pod")["spec"]["containers"][0]["image"] == expected


def test_the_operator_reads_every_value_as_it_was_meant(render: Render) -> None:
    made = environment(
        render(
            {
                "runtime": {
                    "image": "registry.example.com/runtime:2",
                    "gpuImage": "registry.example.com/runtime-gpu:2",
                },
                "prometheus": {
                    "url": "https://prometheus.example.com/prefix",
                    "basicAuth": {"secretName": "prometheus"},
                    "ca": {"configMapName": "authorities", "key": "ca.pem"},
                    "headers": {"X-Scope-OrgID": "payments|search"},
                },
                "watchNamespaces": ["payments", "search"],
                "logLevel": "debug",
                "gates": {"enabled": False},
                "workers": 9,
                "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            }
        )
    )
    assert made.pop("HTTPS_PROXY") == "http://proxy:3128"
    assert settings.load({**made, "HALDANE_INSTANCE": "haldane-0"}) == settings.Settings(
        runtime_image="registry.example.com/runtime:2",
        runtime_gpu_image="registry.example.com/runtime-gpu:2",
        prometheus_url="https://prometheus.example.com/prefix",
        prometheus_token_file="",
        prometheus_username_file="/etc/haldane/prometheus/basic-auth/username",
        prometheus_password_file="/etc/haldane/prometheus/basic-auth/password",
        prometheus_ca_file="/etc/haldane/prometheus/ca/ca.pem",
        prometheus_headers={"X-Scope-OrgID": "payments|search"},
        watch_namespaces=("payments", "search"),
        gates=False,
        workers=9,
        log_level="DEBUG",
        health_port=8090,
        instance="haldane-0",
    )


TOKEN = {"name": "prometheus-token", "secret": {"secretName": "thanos", "items": [{"key": "jwt", "path": "jwt"}]}}
BOTH = [{"key": "username", "path": "username"}, {"key": "password", "path": "password"}]
PASSWORD = {"name": "prometheus-basic-auth", "secret": {"secretName": "mimir", "items": BOTH}}
AUTHORITY = {"name": "prometheus-ca", "configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
PRIVATE = {"name": "prometheus-ca", "secret": {"secretName": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.mark.parametrize(
    ("access", "volumes", "files"),
    [
        ({}, [], {}),
        # As `helm upgrade --reuse-values` from a chart that knew none of it.
        (dict.fromkeys(("bearerToken", "basicAuth", "ca", "headers")), [], {}),
        ({"bearerToken": {"secretName": "thanos", "key": "jwt"}}, [TOKEN], {"TOKEN": "token/jwt"}),
        ({"bearerToken": {"file": ACCOUNT}}, [], {"TOKEN": ACCOUNT}),
        (
            {"basicAuth": {"secretName": "mimir"}, "ca": {"configMapName": "ca"}},
            [PASSWORD, AUTHORITY],
            {"USERNAME": "basic-auth/username", "PASSWORD": "basic-auth/password", "CA": "ca/ca.crt"},
        ),
        ({"ca": {"secretName": "ca"}}, [PRIVATE], {"CA": "ca/ca.crt"}),
    ],
)
def test_the_operator_and_its_test_find_the_credentials_for_prometheus(
    render: Render, access: Manifest, volumes: list[Manifest], files: dict[str, str]
) -> None:
    made = render({"prometheus": access})
    for spec in (pod(made), only(made, "Pod")["spec"]):
        (container,) = spec["containers"]
        own = [volume for volume in spec.get("volumes", []) if volume["name"] != "tmp"]
        assert own == volumes
        mounts = {mount["name"]: mount for mount in container.get("volumeMounts", []) if mount["name"] != "tmp"}
        assert mounts.keys() == {volume["name"] for volume in volumes}
        assert all(mount["readOnly"] and "subPath" not in mount for mount in mounts.values()), "what is renewed arrives"
        told = {entry["name"]: entry["value"] for entry in container["env"]}
        for name in ("TOKEN", "USERNAME", "PASSWORD", "CA"):
            wanted = files.get(name)
            folder = "" if wanted is None or wanted.startswith("/") else "/etc/haldane/prometheus/"
            assert told.get(f"HALDANE_PROMETHEUS_{name}_FILE") == (f"{folder}{wanted}" if wanted else None)
        for mount in mounts.values():
            assert any(value.startswith(f"{mount['mountPath']}/") for value in told.values())


def test_every_variable_that_the_chart_sets_is_one_that_the_operator_reads(defaults: list[Manifest]) -> None:
    read = {f"HALDANE_{field.name.upper()}" for field in dataclasses.fields(settings.Settings)}
    assert environment(defaults).keys() <= read


def test_the_defaults_are_settings_that_the_operator_takes(defaults: list[Manifest]) -> None:
    assert settings.load(environment(defaults)).watch_namespaces == ()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_operator_knows_every_log_level_of_the_schema(render: Render, level: str) -> None:
    assert settings.load(environment(render({"logLevel": level}))).log_level == level.upper()


def test_placement_and_annotations_are_passed_on(render: Render) -> None:
    tolerations = [{"key": "infra", "operator": "Exists"}]
    affinity: Manifest = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    made = render(
        {
            "nodeSelector": {"pool": "infra"},
            "tolerations": tolerations,
            "affinity": affinity,
            "priorityClassName": "system-cluster-critical",
            "podAnnotations": {"example.com/team": "ml"},
            "podLabels": {"example.com/cost": "ml"},
            "imagePullSecrets": [{"name": "registry"}],
            "resources": {"requests": {"cpu": "1"}},
        }
    )
    spec = pod(made)
    template = only(made, "Deployment")["spec"]["template"]["metadata"]
    assert spec["nodeSelector"] == {"pool": "infra"}
    assert spec["tolerations"] == tolerations
    assert spec["affinity"] == affinity
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "128Mi"}
    assert template["annotations"]["example.com/team"] == "ml"
    assert template["labels"]["example.com/cost"] == "ml"
    assert only(made, "Pod")["spec"]["nodeSelector"] == {"pool": "infra"}


def test_the_token_goes_to_the_pods_that_ask_for_it_and_to_no_other(defaults: list[Manifest]) -> None:
    assert only(defaults, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod(defaults)["automountServiceAccountToken"] is True


def test_a_service_account_of_ones_own_is_used_and_not_made(render: Render) -> None:
    made = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert not [manifest for manifest in made if manifest["kind"] == "ServiceAccount"]
    assert pod(made)["serviceAccountName"] == "mine"
    assert only(made, "ClusterRoleBinding")["subjects"][0]["name"] == "mine"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "haldane"),
        ({"nameOverride": "canary"}, "haldane-canary"),
        ({"fullnameOverride": "model-operator"}, "model-operator"),
        ({"fullnameOverride": "m" * 52}, "m" * 52),
    ],
)
def test_names_can_be_chosen(render: Render, values: Manifest, name: str) -> None:
    made = render(values)
    assert only(made, "Deployment")["metadata"]["name"] == name
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in made)


def test_every_object_can_be_told_to_be_the_releases_own(render: Render) -> None:
    everything = {"podMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}}
    for manifest in render(everything):
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "haldane", manifest["kind"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", manifest["kind"]


def test_no_object_looks_like_a_child_of_a_model(render: Render) -> None:
    for manifest in render():
        assert manifest["metadata"]["labels"]["app.kubernetes.io/name"] != "haldane-runtime"
        assert not [label for label in manifest["metadata"]["labels"] if label.startswith("haldane.dev/")]


def test_a_pod_monitor_scrapes_the_model_pods_everywhere_or_where_the_operator_looks(render: Render) -> None:
    monitor = only(render({"podMonitor": {"enabled": True, "labels": {"release": "stack"}}}), "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "stack"
    assert monitor["spec"] == {
        "namespaceSelector": {"any": True},
        "selector": {
            "matchLabels": {
                "app.kubernetes.io/name": "haldane-runtime",
                "app.kubernetes.io/managed-by": "haldane",
            }
        },
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    narrow = only(render({"podMonitor": {"enabled": True}, "watchNamespaces": ["payments"]}), "PodMonitor")
    assert narrow["spec"]["namespaceSelector"] == {"matchNames": ["payments"]}


def test_the_network_policy_lets_probes_in_and_only_the_named_ports_out(render: Render) -> None:
    spec = only(render({"networkPolicy": {"enabled": True, "egressPorts": [6443]}}), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": "probes", "protocol": "TCP"}]}]
    assert spec["egress"] == [
        {
            "ports": [
                {"port": 53, "protocol": "UDP"},
                {"port": 53, "protocol": "TCP"},
                {"port": 6443, "protocol": "TCP"},
            ]
        }
    ]
