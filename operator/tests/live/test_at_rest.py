"""What the operator does outside of rollouts: edits, drift, deletion, strangers, and specs that cannot be used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.apiserver.hands import OWNED

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

    from .model import Model

pytestmark = pytest.mark.api


def test_a_scaling_edit_makes_no_revision(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    revisions = model.names("ControllerRevision")
    model.edit({"scaling": {"minReplicas": 3}})
    model.until(lambda: model.children("Deployment")[0]["spec"]["replicas"] == 3, "the Deployment is scaled")
    model.until(lambda: model.status["stable"]["readyReplicas"] == 3, "three pods are ready")
    assert model.names("ControllerRevision") == revisions
    assert model.phase == "Stable"
    assert "candidate" not in model.status


def test_what_somebody_changed_or_deleted_is_put_back(model: Model, rest: Rest) -> None:
    model.create()
    model.until_stable("1.0.0")
    where = ("Service", model.namespace, "fraud")
    rest.merge(*where, {"spec": {"selector": {"haldane.dev/revision": "other"}}})
    revision = model.status["stable"]["revision"]

    def selected() -> str:
        return str(rest.get(*where).body.get("spec", {}).get("selector", {}).get("haldane.dev/revision"))

    model.until(lambda: selected() == revision, "the selector is back")
    rest.delete(*where)
    model.until(lambda: selected() == revision, "the Service is back")
    rest.merge("Ingress", model.namespace, "fraud", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    model.until(lambda: model.names("Ingress") == {"fraud", "fraud-candidate"}, "the label is back")


def test_checks_that_cannot_be_decided_are_told_of_as_soon_as_they_are_applied(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    owner = 'model="{{model}}",model_namespace="{{namespace}}",revision="{{revision}}"'
    by_code = f"sum by (code) (increase(haldane_requests_total{{{owner}}}[{{{{window}}}}]))"
    checks = [
        {"name": "codes", "query": {"promql": by_code, "max": "1"}},
        {"name": "pace", "query": {"promql": "haldane_latency{{revision}}", "max": "1"}},
    ]
    model.edit({"rollout": {"checks": checks}})

    def told() -> str:
        return str((model.condition("Undecidable") or {}).get("message", ""))

    model.until(lambda: "check codes: the query gave 2 series: aggregate them" in told().lower(), "the query is tried")
    assert "Check pace: the runtime has no metric haldane_latency." in told()
    assert model.phase == "Stable"
    model.until(lambda: "the query gave 2 series" in model.notes(), "an Event tells it")
    model.edit({"rollout": {"checks": [{"name": "errors", "errorRate": {"max": "1%"}}]}})
    model.until(lambda: model.condition("Undecidable") is None, "the checks are corrected")


def test_a_deleted_object_leaves_nothing(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.rest.delete("ModelDeployment", model.namespace, model.name)
    model.until(lambda: not any(model.children(kind) for kind in (*OWNED, "Pod")), "nothing is left")
    time.sleep(1.0)
    assert not any(model.children(kind) for kind in OWNED)


def test_an_object_of_the_same_name_starts_anew(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.rest.delete("ModelDeployment", model.namespace, model.name)
    model.create("2.0.0")
    model.until_stable("2.0.0")
    uid = model.body["metadata"]["uid"]
    for kind in OWNED:
        for child in model.children(kind):
            assert child["metadata"]["ownerReferences"][0]["uid"] == uid


def test_a_strangers_object_is_left_alone(model: Model, rest: Rest) -> None:
    ports = [{"port": 1234}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fraud"}, "spec": {"ports": ports}}
    assert rest.create(model.namespace, service).status == 201
    before = rest.get("Service", model.namespace, "fraud").body
    model.create()
    model.until(lambda: (model.condition("Stalled") or {}).get("reason") == "Refused", "status says so")
    stalled = model.condition("Stalled")
    assert stalled
    assert "Service fraud exists and does not belong to ModelDeployment fraud" in stalled["message"]
    assert rest.get("Service", model.namespace, "fraud").body == before
    rest.delete("Service", model.namespace, "fraud")
    model.until(lambda: model.condition("Stalled") is None, "status takes it back")
    assert "fraud" in model.names("Service")


def test_a_pod_template_that_cannot_be_merged_is_explained(model: Model) -> None:
    model.create(runtime={"podTemplate": {"spec": {"containers": "none"}}})
    model.until(lambda: model.condition("Stalled") is not None, "status explains it")
    ready = model.condition("Ready")
    assert ready
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert not model.children("Deployment")
    model.until(lambda: "InvalidSpec" in model.events(), "an Event tells of it")
    model.edit({"runtime": {"podTemplate": None}})
    model.until_stable("1.0.0")


def test_a_template_that_the_api_server_refuses_is_explained(model: Model) -> None:
    model.create(runtime={"podTemplate": {"spec": {"terminationGracePeriodSeconds": "soon"}}})
    model.until(lambda: (model.condition("Stalled") or {}).get("reason") == "Refused", "status explains it")
    stalled = model.condition("Stalled")
    assert stalled
    assert "terminationGracePeriodSeconds" in stalled["message"]
    model.until(lambda: "Refused" in model.events(), "an Event tells of it")
