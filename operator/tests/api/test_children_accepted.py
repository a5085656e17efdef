"""Every manifest that the planning core makes is taken by a real API server, strictly, and is at rest after one apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from haldane.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import NAME_LIMIT, ModelDeployment
from haldane.control.errors import Terminal
from haldane.effects import requests
from haldane.effects.kube import error_of
from haldane.plan.children import Child, children
from haldane.plan.revision import Revision, from_controller_revision, known_revisions, target

if TYPE_CHECKING:
    from e2e.apiserver.rest import Answer, Body, Rest

pytestmark = pytest.mark.api

APPLY = "application/apply-patch+yaml"
IMAGE = "haldane/runtime:1"
OLD = "0000000000"

PATHS = {
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions/{}",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts/{}",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}",
    "Service": "/api/v1/namespaces/{}/services/{}",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses/{}",
}

# One of each way to merge: by every merge key, over a union, null, each $patch directive, and what is new.
POD_TEMPLATE: dict[str, Any] = {
    "metadata": {
        "labels": {"team": "risk", "haldane.dev/revision": "mine"},
        "annotations": {"prometheus.io/scrape": None, "sidecar.istio.io/inject": "false"},
    },
    "spec": {
        "automountServiceAccountToken": None,
        "priorityClassName": "serving",
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["s3.internal"]}],
        "imagePullSecrets": [{"name": "registry"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"haldane.dev/model": "fraud"}},
            }
        ],
        "initContainers": [
            {"name": "tap", "image": "tap:1", "restartPolicy": "Always", "env": [{"name": "A", "value": "1"}]}
        ],
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}},
            {"name": "tmp", "emptyDir": {"medium": "Memory"}},
            {"name": "extra", "projected": {"sources": [{"configMap": {"name": "extra"}}]}},
        ],
        "containers": [
            {"name": "logs", "image": "logs:1"},
            {
                "name": "runtime",
                "imagePullPolicy": "Always",
                "livenessProbe": {"exec": {"command": ["true"]}},
                "readinessProbe": {"$patch": "replace", "tcpSocket": {"port": "http"}},
                "lifecycle": {"preStop": {"exec": {"command": ["sleep", "7"]}}},
                "ports": [{"containerPort": 8080, "hostPort": 18080}, {"containerPort": 9000, "name": "debug"}],
                "env": [
                    {"name": "HALDANE_QUEUE", "$patch": "delete"},
                    {"name": "TZ", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['tz']"}}},
                ],
                "volumeMounts": [
                    {"mountPath": "/extra", "name": "extra", "readOnly": True},
                    {"mountPath": "/tmp", "name": "tmp", "subPath": "own"},
                ],
                "securityContext": {"capabilities": {"$patch": "replace", "drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
                "startupProbe": {"$patch": "delete"},
            },
        ],
    },
}  # fmt: skip

# The rest of a spec, which makes no revision.
REST: dict[str, Any] = {
    "scaling": {
        "minReplicas": 2,
        "maxReplicas": 9,
        "metrics": [
            {"type": "CPU", "target": "70%"},
            {"type": "Memory", "target": "1Gi"},
        ],
    },
    "traffic": {
        "host": "fraud.example.com",
        "path": "/score",
        "ingress": {
            "className": "nginx",
            "tlsSecret": "tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "64m"},
        },
    },
}

CASES = ("the least", "the longest name", "without an IngressClass", "tuned", "everything")

Made = tuple[ModelDeployment, Mapping[str, Revision], list[Child]]


@pytest.fixture(scope="session")
def cases(minimal: Body, full: Body, tuned: Body) -> Mapping[str, Body]:
    """A spec for each of CASES."""
    everything = {**full, **REST, "runtime": {**full["runtime"], "podTemplate": POD_TEMPLATE}}
    del everything["runtime"]["serviceAccountName"]
    return {
        "the least": minimal,
        "the longest name": minimal,
        "without an IngressClass": {**minimal, "traffic": {"host": "fraud.example.com", "ingress": {}}},
        "tuned": tuned,
        "everything": everything,
    }


@pytest.fixture
def accepted(rest: Rest, namespace: str, cases: Mapping[str, Body]) -> Callable[[str], Made]:
    """A case as the API server gives it back (defaults filled in, unknown fields kept), and its children mid-rollout."""

    def made(case: str) -> Made:
        name = "n" * NAME_LIMIT if case == "the longest name" else "fraud"
        body: Body = {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "labels": {"argocd.argoproj.io/instance": "apps"}},
            "spec": cases[case],
        }
        stored = rest.create(namespace, body, fieldValidation="Strict")
        assert stored.status == httpx.codes.CREATED, stored.body
        md = ModelDeployment.from_wire(stored.body)
        wanted = target(md, IMAGE)
        old = Revision(OLD, "2.0.3", None, {**wanted.template, **_labelled(wanted.template, OLD)}, 1)
        revisions = {
            old.name: old,
            wanted.name: Revision(wanted.name, wanted.version, wanted.digest, wanted.template, 2),
        }
        status = ModelDeploymentStatus(
            stable=RevisionStatus(revision=OLD, version="2.0.3", replicas=2),
            candidate=RevisionStatus(revision=wanted.name, version=wanted.version, replicas=1),
            rollout=RolloutStatus(phase="Progressing", weight=25),
        )
        return md, revisions, children(md, status, revisions)

    return made


def _labelled(template: Body, revision: str) -> Body:
    labels = {**template["metadata"]["labels"], "haldane.dev/revision": revision}
    return {"metadata": {**template["metadata"], "labels": labels}}


def apply(rest: Rest, manifest: Body, **query: str) -> Answer:
    where = PATHS[manifest["kind"]].format(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    return rest.send(
        "PATCH", where, manifest, media=APPLY, fieldManager="haldane", force="true", fieldValidation="Strict", **query
    )


@pytest.mark.parametrize("case", CASES)
def test_every_child_is_accepted_strictly(rest: Rest, accepted: Callable[[str], Made], case: str) -> None:
    _, _, wanted = accepted(case)
    for child in wanted:
        answer = apply(rest, child.manifest, dryRun="All")
        assert answer.status == httpx.codes.CREATED, answer.body
        assert not answer.warnings
    if case == "everything":
        assert {child.manifest["kind"] for child in wanted} == PATHS.keys()


@pytest.mark.parametrize("case", CASES)
def test_a_second_apply_changes_nothing(rest: Rest, accepted: Callable[[str], Made], case: str) -> None:
    """What the API server fills in does not fight with what is applied, or each pass would be a write."""
    for child in accepted(case)[2]:
        first = apply(rest, child.manifest)
        assert first.status == httpx.codes.CREATED, first.body
        second = apply(rest, child.manifest)
        assert second.status == httpx.codes.OK, second.body
        assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
        assert second.body["metadata"].get("generation") == first.body["metadata"].get("generation")


def test_a_pod_of_the_template_is_accepted_under_restricted_pod_security(
    rest: Rest, namespace: str, accepted: Callable[[str], Made]
) -> None:
    level = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    labelled = rest.send("PATCH", f"/api/v1/namespaces/{namespace}", level, media="application/merge-patch+json")
    assert labelled.status == httpx.codes.OK
    md, revisions, _ = accepted("the least")
    template = revisions[target(md, IMAGE).name].template
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "one"}}
    answer = rest.create(namespace, pod, dryRun="All", fieldValidation="Strict")
    assert answer.status == httpx.codes.CREATED, answer.body
    assert not answer.warnings


def test_the_users_pod_template_arrives(rest: Rest, accepted: Callable[[str], Made]) -> None:
    md, _, wanted = accepted("everything")
    name = f"fraud-{target(md, IMAGE).name}"
    manifest = next(
        c.manifest for c in wanted if c.manifest["kind"] == "Deployment" and c.manifest["metadata"]["name"] == name
    )
    template = apply(rest, manifest).body["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "risk"
    assert template["metadata"]["labels"]["haldane.dev/revision"] == target(md, IMAGE).name
    assert template["metadata"]["annotations"] == {
        "prometheus.io/port": "8080", "prometheus.io/path": "/metrics", "sidecar.istio.io/inject": "false",
    }  # fmt: skip
    assert "automountServiceAccountToken" not in template["spec"]
    runtime, logs = template["spec"]["containers"]
    assert (runtime["name"], logs["name"]) == ("runtime", "logs")
    assert runtime["livenessProbe"]["exec"] == {"command": ["true"]}
    assert "httpGet" not in runtime["readinessProbe"]
    assert "startupProbe" not in runtime
    assert runtime["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", "7"]}}
    assert [(port["name"], port["containerPort"], port.get("hostPort")) for port in runtime["ports"]] == [
        ("http", 8080, 18080),
        ("grpc", 8081, None),
        ("debug", 9000, None),
    ]
    environment = {variable["name"]: variable for variable in runtime["env"]}
    assert "HALDANE_QUEUE" not in environment
    assert "value" not in environment["TZ"]
    assert environment["HALDANE_MODEL_URI"]["value"] == "s3://models/fraud/2.1.0/"
    assert runtime["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["cache"] == {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}}
    assert volumes["tmp"]["emptyDir"] == {"medium": "Memory"}


def test_an_unknown_field_of_the_pod_template_is_refused_by_the_api_server_and_not_lost(
    rest: Rest, namespace: str
) -> None:
    """It is passed on as it is: an API server that knows the field takes it, this one says that it does not."""
    body: Body = {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud"},
        "spec": {"model": {"uri": "s3://models/fraud"}, "runtime": {"podTemplate": {"spec": {"ofTomorrow": True}}}},
    }
    md = ModelDeployment.from_wire(rest.create(namespace, body).body)
    wanted = target(md, IMAGE)
    status = ModelDeploymentStatus(stable=RevisionStatus(revision=wanted.name, version="1", replicas=1))
    made = children(md, status, {wanted.name: wanted})
    deployment = next(child.manifest for child in made if child.manifest["kind"] == "Deployment")
    refused = apply(rest, deployment)
    # Not a 4xx: it is told from a server in trouble by its words, or it would be tried for ever without a condition.
    assert refused.status == httpx.codes.INTERNAL_SERVER_ERROR
    told = error_of(requests.apply(deployment), refused.status, None, refused.body["message"])
    assert isinstance(told, Terminal)
    assert ".spec.template.spec.ofTomorrow: field not declared in schema" in told.reason


@pytest.mark.parametrize("case", CASES)
def test_a_revision_comes_back_as_it_was_kept(rest: Rest, accepted: Callable[[str], Made], case: str) -> None:
    """Also from its Deployment, with all that the API server filled in: applying that again is no change."""
    md, revisions, wanted = accepted(case)
    stored = [apply(rest, child.manifest).body for child in wanted]
    kept = [from_controller_revision(obj) for obj in stored if obj["kind"] == "ControllerRevision"]
    assert {revision.name: revision for revision in kept} == revisions

    deployments = [obj for obj in stored if obj["kind"] == "Deployment"]
    known = known_revisions(deployments, target(md, IMAGE))
    status = ModelDeploymentStatus(
        stable=RevisionStatus(revision=OLD, version="2.0.3", replicas=2),
        candidate=RevisionStatus(revision=target(md, IMAGE).name, version="2.1.0", replicas=1),
    )
    recovered = [child.manifest for child in children(md, status, known) if child.manifest["kind"] == "Deployment"]
    for before, manifest in zip(deployments, recovered, strict=True):
        again = apply(rest, manifest)
        assert again.status == httpx.codes.OK, again.body
        assert again.body["spec"] == before["spec"], "no pod is restarted"
