"""A policy of the cluster lets nobody write the route: what the real API server says of it reaches people, and the way back works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

    from .model import Model

pytestmark = pytest.mark.api

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
SAYS = "routes are frozen until Monday"
ROLLOUT = {
    "steps": [{"weight": 50, "hold": "1s", "approval": True}],
    "analysis": {"interval": "1s", "window": "10s", "warmup": "0s", "minRequests": 20},
    "checks": [{"name": "errors", "errorRate": {"max": "1%", "abort": "20%"}}],
    "progressDeadline": "6s",
}


@pytest.fixture
def frozen(rest: Rest, model: Model) -> Iterator[Any]:
    """Let nobody change an Ingress in the model's namespace, once it is called."""
    name = f"frozen.{model.namespace}.example.com"
    rules = [
        {
            "apiGroups": ["networking.k8s.io"],
            "apiVersions": ["v1"],
            "operations": ["UPDATE"],
            "resources": ["ingresses"],
        }
    ]
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": SAYS}],
        },
    }
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": model.namespace}}}
    binding = {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": where},
    }

    def freeze() -> None:
        assert rest.send("POST", f"{ADMISSION}/validatingadmissionpolicies", policy).status == 201
        assert rest.send("POST", f"{ADMISSION}/validatingadmissionpolicybindings", binding).status == 201
        change = {"metadata": {"labels": {"tried": "yes"}}}
        model.until(
            lambda: rest.merge("Ingress", model.namespace, "fraud", change, dryRun="All").status == 422,
            "the policy is in force",
        )

    yield freeze
    rest.send("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{name}")
    rest.send("DELETE", f"{ADMISSION}/validatingadmissionpolicies/{name}")


def test_a_promotion_that_a_policy_keeps_from_the_route(model: Model, rest: Rest, frozen: Any) -> None:
    model.create(rollout=ROLLOUT)
    model.until_stable("1.0.0")
    old = model.status["stable"]["revision"]
    model.deploy("2.0.0")
    model.until(lambda: bool(model.condition("Suspended")), "it waits for approval")
    frozen()
    model.annotate("approve", "yes")

    def stalled() -> str:
        return str((model.condition("Stalled") or {}).get("reason"))

    model.until(lambda: stalled() == "Refused", "it is refused")
    model.until(lambda: stalled() == "ProgressDeadlineExceeded", "its deadline has passed")
    assert (model.phase, model.hands.weights[-1]) == ("Promoting", 50)
    assert SAYS in model.condition("Stalled")["message"]  # type: ignore[index]
    model.until(lambda: "ProgressDeadlineExceeded" in model.events(), "an Event tells it")
    assert SAYS in model.notes()

    model.annotate("abort", "now")

    def leads_to() -> Any:
        return rest.get("Service", model.namespace, "fraud-candidate").body["spec"]["selector"]["haldane.dev/revision"]

    model.until(lambda: bool(leads_to() == old), "stable answers the candidate's share")
    model.until(lambda: model.phase == "Stable", "the rollback ends")
    assert (model.version("stable"), model.hands.weights[-1]) == ("1.0.0", 50)
