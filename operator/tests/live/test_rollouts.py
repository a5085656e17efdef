"""Whole rollouts: what is written when, and what a user is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.apiserver.hands import Behaviour

if TYPE_CHECKING:
    from .model import Model

pytestmark = pytest.mark.api


def test_a_first_deployment_goes_straight_to_stable(model: Model) -> None:
    model.hands.behaviours["1.0.0"] = Behaviour(waiting=("ContainerCreating", ""))
    model.create(scaling={"minReplicas": 2})
    model.until(lambda: bool(model.children("Deployment")), "a Deployment exists")
    ready = model.condition("Ready")
    assert ready
    assert ready["status"] == "False"
    model.hands.behaviours.clear()
    model.until_stable("1.0.0")

    revision = model.status["stable"]["revision"]
    assert model.names("Deployment") == model.names("ControllerRevision") == {f"fraud-{revision}"}
    assert model.names("Service") == model.names("Ingress") == {"fraud", "fraud-candidate"}
    assert model.names("ServiceAccount") == {"fraud"}
    assert model.names("PodDisruptionBudget") == {f"fraud-{revision}"}
    assert model.children("Deployment")[0]["spec"]["replicas"] == 2
    ready = model.condition("Ready")
    assert ready
    assert ready["status"] == "True"
    assert model.hands.weights == [0]
    assert {"Deploying", "Serving"} <= model.events()
    owner = {"controller": True, "blockOwnerDeletion": False, "uid": model.body["metadata"]["uid"]}
    for kind in ("Deployment", "Service", "Ingress", "ControllerRevision", "PodDisruptionBudget", "ServiceAccount"):
        for child in model.children(kind):
            assert owner.items() <= child["metadata"]["ownerReferences"][0].items()


def test_nothing_is_written_to_spec_or_metadata(model: Model) -> None:
    model.create()
    before = model.body
    model.until_stable("1.0.0")
    after = model.body
    assert after["spec"] == before["spec"]
    kept = {"annotations", "finalizers", "labels", "generation", "ownerReferences"}
    assert {k: v for k, v in after["metadata"].items() if k in kept} == {
        k: v for k, v in before["metadata"].items() if k in kept
    }


def test_a_better_version_is_promoted_step_by_step(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    old = model.status["stable"]["revision"]
    model.deploy("2.0.0")
    model.until(lambda: model.version("candidate") == "2.0.0", "the candidate is prepared")
    model.until(lambda: model.phase == "Watching", "the candidate is promoted")
    # Handover: the candidate's own pods serve, and the old ones are still there.
    assert len(model.names("Deployment")) == 2
    model.until_stable("2.0.0")
    new = model.status["stable"]["revision"]
    assert model.hands.weights == [0, 10, 50, 100, 0]
    assert model.names("Deployment") == {f"fraud-{new}"}
    assert model.names("ControllerRevision") == {f"fraud-{old}", f"fraud-{new}"}
    assert model.rest.get("Service", model.namespace, "fraud").body["spec"]["selector"] == {
        "haldane.dev/model": "fraud",
        "haldane.dev/revision": new,
    }
    assert {"RolloutStarted", "WeightChanged", "Promoted"} <= model.events()
    assert [entry["outcome"] for entry in model.status["history"]] == ["Promoted", "Promoted"]


def test_a_broken_version_is_rolled_back_and_not_tried_again(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    model.deploy("2.0.0")
    model.until(lambda: model.phase == "RollingBack", "the candidate is rolled back")
    decided = time.monotonic()
    model.until(lambda: model.hands.weights[-1] == 0, "the route is back at 0")
    assert time.monotonic() - decided < 5.0
    model.until_stable("1.0.0")

    ready, stalled, available = (model.condition(kind) for kind in ("Ready", "Stalled", "Available"))
    assert ready
    assert stalled
    assert available
    assert (ready["status"], ready["reason"]) == ("False", "RolledBack")
    assert stalled["status"] == available["status"] == "True"
    assert [entry["version"] for entry in model.status["rejected"]] == ["2.0.0"]
    assert len(model.names("Deployment")) == 1
    assert "RolledBack" in " ".join(model.events())
    before = model.body["metadata"]["resourceVersion"]
    time.sleep(3.0)
    assert model.body["metadata"]["resourceVersion"] == before


def test_the_cause_of_a_candidate_that_does_not_come_up_is_named(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.hands.behaviours["2.0.0"] = Behaviour(
        waiting=("CrashLoopBackOff", "back-off 10s restarting failed container"),
        terminated='{"reason": "ChecksumMismatch", "message": "the model has another checksum"}',
    )
    model.deploy("2.0.0")
    model.until(lambda: "ChecksumMismatch" in model.events(), "an Event names the cause")
    reconciling = model.condition("Reconciling") or model.condition("Stalled")
    assert reconciling
    assert "ChecksumMismatch" in reconciling["message"]
    assert model.version("stable") == "1.0.0"
    assert model.hands.weights == [0]


def test_without_prometheus_a_rollout_holds_and_says_so(model: Model) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.hands.prometheus.refuses = (503, "down")
    model.deploy("2.0.0")
    model.until(lambda: "Prometheus" in model.status["rollout"]["message"], "status speaks of Prometheus")
    assert model.phase == "Progressing"
    model.hands.prometheus.refuses = None
    model.until(lambda: 50 in model.hands.weights, "the rollout goes on")
