"""Releases on a real kube-apiserver: what it accepts, what an upgrade and an uninstall leave, what the operator may do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.apiserver.server import ApiServer

from .release import ACCOUNT, CRD, SYSTEM, Cluster, until_served

pytestmark = pytest.mark.api

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
MODEL = {
    "apiVersion": "haldane.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "fraud", "namespace": "shop"},
    "spec": {"model": {"uri": "s3://models/fraud/1.0.0/model.onnx"}},
}


@pytest.fixture(scope="session")
def pod_monitors(apiserver: ApiServer) -> None:
    """The part of the Prometheus operator's CRD that the chart uses, closed to every other field."""
    text = {"type": "string"}
    texts = {"type": "object", "additionalProperties": text}
    endpoint = {"type": "object", "properties": {"port": text, "path": text, "interval": text}}
    namespaces = {"any": {"type": "boolean"}, "matchNames": {"type": "array", "items": text}}
    spec = {
        "namespaceSelector": {"type": "object", "properties": namespaces},
        "selector": {"type": "object", "properties": {"matchLabels": texts}},
        "podMetricsEndpoints": {"type": "array", "items": endpoint},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "podmonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    for arguments, stdin in (
        (("create", "-f", "-"), json.dumps(definition)),
        (("wait", "--for=condition=Established", "--timeout=20s", "crd/podmonitors.monitoring.coreos.com"), ""),
    ):
        done = apiserver.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr


COMBINATIONS: dict[str, Manifest] = {
    "nothing set": {},
    "some namespaces": {"watchNamespaces": ["shop", "stock"]},
    "the CRD by others": {"crds": {"install": False}},
    "the CRD not kept": {"crds": {"keep": False}},
    "rights by others": {"rbac": {"create": False, "aggregate": False}},
    "an account of one's own": {"serviceAccount": {"create": False, "name": "default"}},
    "an image by digest": {"image": {"digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "registry"}]},
    "everything": {
        "watchNamespaces": ["shop"],
        "serviceAccount": {"annotations": {"example.com/role": "models"}},
        "prometheus": {"url": "https://prometheus.example.com/prefix"},
        "logLevel": "debug",
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"pool": "infra"},
        "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
                }
            }
        },
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"example.com/team": "ml"},
        "podLabels": {"example.com/team": "ml"},
        "extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "podMonitor": {"enabled": True, "labels": {"release": "stack"}},
        "networkPolicy": {"enabled": True},
    },
}


@pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_the_api_server_takes_every_object_without_a_warning(
    apiserver: ApiServer, namespaces: None, pod_monitors: None, render: Render, values: Manifest
) -> None:
    made = render(values)
    done = apiserver.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(made),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(done.stdout.splitlines()) == len(made)


def test_a_release_from_install_to_uninstall_and_back_keeps_the_models(apiserver: ApiServer, cluster: Cluster) -> None:
    assert "STATUS: deployed" in cluster.helm("install", {})
    until_served(apiserver)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(MODEL))
    of_model = ("get", "modeldeployment/fraud", "--namespace=shop", "--output=jsonpath={.metadata.uid}")
    uid = cluster.kubectl(*of_model)

    cluster.helm("upgrade", {"workers": 3, "networkPolicy": {"enabled": True}})
    image = (
        "get",
        "deployment/haldane",
        "--namespace",
        SYSTEM,
        "--output=jsonpath={..env[?(@.name=='HALDANE_WORKERS')].value}",
    )
    assert cluster.kubectl(*image) == "3"
    assert cluster.names("networkpolicy", "--namespace", SYSTEM)
    assert cluster.attempt("rollback", "haldane", "1").returncode == 0
    assert not cluster.names("networkpolicy", "--namespace", SYSTEM)

    assert f"[CustomResourceDefinition] {CRD}" in cluster.helm("uninstall")
    assert not cluster.names(
        "deployment,serviceaccount", "--namespace", SYSTEM, "--selector=app.kubernetes.io/part-of=haldane"
    )
    assert not cluster.names("clusterrole,clusterrolebinding", "--selector=app.kubernetes.io/part-of=haldane")
    assert cluster.kubectl(*of_model) == uid

    assert "STATUS: deployed" in cluster.helm("install", {})
    assert cluster.kubectl(*of_model) == uid


def test_a_crd_that_is_not_kept_goes_with_the_release(cluster: Cluster) -> None:
    cluster.helm("install", {"crds": {"keep": False}})
    assert cluster.names("crd", CRD)
    cluster.helm("uninstall")
    cluster.kubectl("wait", "--for=delete", "--timeout=20s", f"crd/{CRD}")


def test_a_crd_that_others_installed_is_left_alone(cluster: Cluster, repository: Path) -> None:
    cluster.kubectl("apply", "--server-side", "--filename", str(repository / "crds"))
    refused = cluster.attempt("install", "haldane", str(repository / "charts/haldane"))
    assert "cannot be imported into the current release" in refused.stderr
    cluster.attempt("uninstall", "haldane")
    taken = cluster.attempt("install", "haldane", str(repository / "charts/haldane"), "--take-ownership")
    assert taken.returncode == 0, taken.stderr
    cluster.helm("uninstall")
    cluster.helm("install", {"crds": {"install": False}})
    cluster.helm("uninstall")
    assert cluster.names("crd", CRD)


FORBIDDEN = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("create", "serviceaccounts/token"),
    ("update", "modeldeployments.haldane.dev"),
    ("patch", "modeldeployments.haldane.dev"),
    ("delete", "modeldeployments.haldane.dev"),
    ("update", "modeldeployments.haldane.dev/finalizers"),
    ("get", "configmaps"),
    ("list", "events"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("list", "nodes"),
    ("list", "namespaces"),
    ("deletecollection", "deployments.apps"),
]


def test_the_operator_may_nothing_but_its_work(cluster: Cluster) -> None:
    cluster.helm("install", {})
    assert cluster.may(ACCOUNT, "create", "deployments.apps", "--all-namespaces")
    assert cluster.may(ACCOUNT, "update", "modeldeployments.haldane.dev/status", "--namespace=shop")
    held = [right for right in FORBIDDEN if cluster.may(ACCOUNT, *right, "--namespace=shop")]
    assert not held


def test_with_a_list_of_namespaces_it_may_nothing_elsewhere(cluster: Cluster) -> None:
    cluster.helm("install", {"watchNamespaces": ["shop"]})
    assert cluster.may(ACCOUNT, "create", "deployments.apps", "--namespace=shop")
    for elsewhere in ("--namespace=stock", f"--namespace={SYSTEM}", "--all-namespaces"):
        assert not cluster.may(ACCOUNT, "list", "modeldeployments.haldane.dev", elsewhere)
        assert not cluster.may(ACCOUNT, "create", "deployments.apps", elsewhere)
    held = [right for right in FORBIDDEN if cluster.may(ACCOUNT, *right, "--namespace=shop")]
    assert not held
