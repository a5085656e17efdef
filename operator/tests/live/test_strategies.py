"""BlueGreen and Recreate on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import Behaviour

if TYPE_CHECKING:
    from .model import Model

pytestmark = pytest.mark.api

HEADER = "nginx.ingress.kubernetes.io/canary-by-header"


def rollout(model: Model, strategy: str, **changes: Any) -> dict[str, Any]:
    written = {key: value for key, value in model.manifest("")["spec"]["rollout"].items() if key != "steps"}
    return {**written, "strategy": strategy, **changes}


def header(model: Model) -> str | None:
    """The header that leads to the candidate now."""
    route = model.rest.get("Ingress", model.namespace, "fraud-candidate").body
    found: str | None = route["metadata"]["annotations"].get(HEADER)
    return found


def test_blue_green_shows_itself_by_a_header_and_switches_once(model: Model) -> None:
    traffic = {"host": "fraud.example.com", "ingress": {"className": "nginx", "previewHeader": "X-Preview"}}
    steps = [{"weight": 0, "hold": "1s", "approval": True}]
    model.create(scaling={"minReplicas": 2}, traffic=traffic, rollout=rollout(model, "BlueGreen", steps=steps))
    model.until_stable("1.0.0")
    assert header(model) is None
    model.deploy("2.0.0")
    model.until(lambda: (model.condition("Suspended") or {}).get("reason") == "WaitingForApproval", "it is looked at")
    candidate = model.status["candidate"]
    assert (candidate["replicas"], candidate["readyReplicas"]) == (2, 2)
    assert header(model) == "X-Preview"
    model.annotate("approve", "looks good")
    model.until_stable("2.0.0")
    assert model.hands.weights == [0, 100, 0]
    assert header(model) is None
    assert "Previewed" in model.events()


def test_recreate_never_asks_for_more_pods_than_fit(model: Model) -> None:
    model.create(rollout=rollout(model, "Recreate"))
    model.until_stable("1.0.0")
    since = model.rest.version("Deployment", model.namespace)
    model.deploy("2.0.0")
    model.until(lambda: "nothing serves until" in model.status["rollout"]["message"], "the gap is told")
    available = model.condition("Available")
    assert available
    assert available["status"] == "False"
    model.until_stable("2.0.0")

    model.hands.behaviours["3.0.0"] = Behaviour(
        waiting=("CrashLoopBackOff", "back-off"), terminated='{"reason": "InvalidModel", "message": "it is no model"}'
    )
    model.deploy("3.0.0")
    model.until(lambda: model.phase == "RollingBack", "what cannot be loaded is not waited for")
    model.until_stable("2.0.0")
    model.until(lambda: (model.condition("Available") or {}).get("status") == "True", "version 2.0.0 serves again")
    assert "it is no model" in model.status["rejected"][0]["message"]

    sizes: dict[str, int] = {}
    for what, body in model.rest.history("Deployment", model.namespace, since):
        sizes[body["metadata"]["name"]] = 0 if what == "DELETED" else body["spec"]["replicas"]
        assert sum(sizes.values()) <= 1, sizes
    assert model.hands.weights == [0]
