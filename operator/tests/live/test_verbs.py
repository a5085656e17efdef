"""What people ask by annotations: with kubectl, on a rollout that is under way."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e.apiserver.server import ApiServer

    from .model import Model

pytestmark = pytest.mark.api

PATIENT: dict[str, Any] = {
    "steps": [{"weight": 10, "hold": "1s", "approval": True}, {"weight": 50, "hold": "10m"}],
    "analysis": {"interval": "1s", "window": "10s", "warmup": "0s", "minRequests": 20},
    "checks": [{"name": "errors", "errorRate": {"max": "1%", "abort": "20%"}}],
    "progressDeadline": "60s",
    "keepStableFor": "2s",
    "watchAfterPromotion": "2s",
}


def suspended(model: Model) -> str:
    """Reason and message of the condition; empty when there is none."""
    condition = model.condition("Suspended")
    return f"{condition['reason']}: {condition['message']}" if condition else ""


def test_a_rollout_waits_for_a_person_and_takes_the_command_that_it_names(model: Model, apiserver: ApiServer) -> None:
    model.create(rollout=PATIENT)
    model.until_stable("1.0.0")
    model.deploy("2.0.0")
    model.until(lambda: suspended(model).startswith("WaitingForApproval"), "approval is asked for")
    command = suspended(model).partition("approval: `")[2].removesuffix("`.")
    reconciling = model.condition("Reconciling")
    assert reconciling
    assert (reconciling["reason"], command in reconciling["message"]) == ("WaitingForApproval", True)
    assert model.hands.weights[-1] == 10

    done = apiserver.kubectl(*shlex.split(command.removeprefix("kubectl ")))
    assert done.returncode == 0, done.stderr
    model.until(lambda: model.hands.weights[-1] == 50, "the next step begins")
    assert suspended(model) == ""
    assert "Step 1 (weight 10%) of version 2.0.0 is approved by kubectl-annotate." in model.notes()
    assert model.body["metadata"]["generation"] == 2, "spec was changed once, by its author"

    model.annotate("promote", "now")
    model.until_stable("2.0.0")
    assert "Version 2.0.0 was promoted by alice at weight 50%" in model.notes()
    assert "was promoted by alice" in model.status["history"][-1]["message"]


def test_a_rollout_is_paused_resumed_and_aborted(model: Model) -> None:
    model.create(rollout={**PATIENT, "steps": PATIENT["steps"][1:]})
    model.until_stable("1.0.0")
    model.annotate("pause", "INC-12")
    model.deploy("2.0.0")
    model.until(lambda: "not rolled out" in model.status["rollout"]["message"], "status says that it is paused")
    assert model.version("candidate") is None
    assert suspended(model) == (
        "Paused: Rollouts are paused by alice (INC-12); to go on: "
        f"`kubectl annotate mdep fraud -n {model.namespace} haldane.dev/pause-`."
    )
    model.annotate("pause", None)
    model.until(lambda: model.hands.weights[-1] == 50, "the rollout begins")
    assert suspended(model) == ""

    since = model.rest.version("ModelDeployment", model.namespace)
    model.annotate("abort", "enough")
    model.until_stable("1.0.0")
    written = model.rest.history("ModelDeployment", model.namespace, since)
    phases = [body["status"]["rollout"]["phase"] for _, body in written]
    assert sorted(set(phases), key=phases.index) == ["Progressing", "RollingBack", "Stable"]
    rejected = model.status["rejected"][0]
    assert (rejected["version"], rejected["reason"], rejected["message"]) == ("2.0.0", "Aborted", "aborted by alice")
    stalled = model.condition("Stalled")
    assert stalled
    assert "aborted by alice" in stalled["message"]
    assert {"Paused", "Resumed", "Aborted"} <= model.events()
    assert model.status["verbs"] == {"abort": "enough"}
