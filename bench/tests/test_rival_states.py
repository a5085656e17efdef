"""What each controller's object says, as the bench reads it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.rivals.app import NEW
from bench.rivals.argo import ArgoRollouts
from bench.rivals.cases import CASES
from bench.rivals.flagger import Flagger
from bench.rivals.haldane_operator import Haldane
from bench.rivals.observed import State
from haldane.api.v1alpha1 import ModelDeployment

AT = "2026-01-01T00:00:00.000Z"


def deployment(version: str, generation: int = 2, observed: int = 2, **rollout: Any) -> dict[str, Any]:
    history = rollout.pop("history", [])
    (body,) = Haldane().objects("n", CASES[0])
    body = dict(body, metadata={"name": "app", "namespace": "n", "uid": "u", "generation": generation})
    stable = {"revision": version, "version": version}
    body["status"] = {"observedGeneration": observed, "stable": stable, "rollout": rollout, "history": history}
    return body


def ended(outcome: str, version: str = NEW) -> dict[str, str]:
    return {
        "revision": version,
        "version": version,
        "outcome": outcome,
        "startedAt": AT,
        "finishedAt": AT,
        "message": "why",
    }


BEFORE = deployment("old", 1, 1, phase="Stable", history=[ended("Promoted", "old")])
HISTORY = BEFORE["status"]["history"]


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (deployment("old", observed=1, phase="Stable", history=HISTORY), (True, "", 0)),
        (deployment("old", phase="Progressing", weight=25, history=HISTORY), (True, "", 25)),
        (deployment("old", phase="Stable", history=HISTORY), (True, "", 0)),
        (deployment("old", phase="Promoting", weight=100, history=HISTORY), (True, "", 100)),
        (deployment(NEW, phase="Promoting", weight=100, history=HISTORY), (False, "promoted", 100)),
        (deployment(NEW, phase="Watching", history=HISTORY), (False, "promoted", 100)),
        (deployment("old", phase="RollingBack", history=[*HISTORY, ended("RolledBack")]), (True, "", 0)),
        (deployment("old", phase="Stable", history=[*HISTORY, ended("RolledBack")]), (False, "rolled back", 0)),
        (deployment("old", phase="Stable", history=[*HISTORY, ended("Aborted")]), (False, "set back", 0)),
    ],
)
def test_haldane(body: dict[str, Any], state: tuple[bool, str, int]) -> None:
    found = Haldane().state(body, BEFORE)
    assert (found.under_way, found.outcome, found.weight) == state


def test_haldanes_objects_are_valid_and_a_change_takes_back_what_it_leaves_out() -> None:
    haldane = Haldane()
    for case in CASES:
        (body,) = haldane.objects("n", case)
        ModelDeployment.from_wire({**body, "metadata": {**body["metadata"], "uid": "u", "generation": 1}})
    slow = next(case for case in CASES if case.new.delay)
    assert haldane.change("n", slow, slow.new)["spec"]["runtime"]["batching"]["maxDelay"] == "800ms"
    assert haldane.change("n", slow, slow.old)["spec"]["runtime"]["batching"] is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Initialized", "lastAppliedSpec": "a"}, (True, "", 0)),
        ({"phase": "Progressing", "lastAppliedSpec": "b", "canaryWeight": 25}, (True, "", 25)),
        ({"phase": "Succeeded", "lastAppliedSpec": "b"}, (False, "promoted", 0)),
        ({"phase": "Failed", "lastAppliedSpec": "b"}, (False, "rolled back", 0)),
        ({"phase": "Succeeded", "lastAppliedSpec": "a"}, (True, "", 0)),
    ],
)
def test_flagger(status: dict[str, Any], state: tuple[bool, str, int]) -> None:
    conditions = [{"type": "Promoted", "message": "why"}]
    before = {"status": {"phase": "Initialized", "lastAppliedSpec": "a"}}
    assert Flagger().state({"status": {**status, "conditions": conditions}}, before) == State(*state, "why")


def rollout(generation: int = 2, observed: int = 2, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "status": {"observedGeneration": str(observed), **status}}


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (rollout(3, phase="Healthy", stableRS="a", currentPodHash="a"), (True, "", 0)),
        (rollout(1, observed=1, phase="Healthy", stableRS="a", currentPodHash="a"), (True, "", 0)),
        (rollout(phase="Progressing", stableRS="a", currentPodHash="b"), (True, "", 0)),
        (
            rollout(phase="Paused", stableRS="a", currentPodHash="b", canary={"weights": {"canary": {"weight": 5}}}),
            (True, "", 5),
        ),
        (rollout(phase="Healthy", stableRS="b", currentPodHash="b"), (False, "promoted", 0)),
        (rollout(phase="Healthy", stableRS="a", currentPodHash="a"), (False, "set back", 0)),
        (rollout(phase="Degraded", abort=True, stableRS="a", currentPodHash="b"), (False, "rolled back", 0)),
    ],
)
def test_argo(body: dict[str, Any], state: tuple[bool, str, int]) -> None:
    found = ArgoRollouts().state(body, rollout(1, 1, phase="Healthy", stableRS="a"))
    assert (found.under_way, found.outcome, found.weight) == state


def test_the_others_get_the_same_limits() -> None:
    (metrics,) = [o["spec"]["analysis"]["metrics"] for o in Flagger().objects("n", CASES[0]) if o["kind"] == "Canary"]
    assert [(m["name"], m["thresholdRange"]) for m in metrics] == [("errors", {"max": 2}), ("p99", {"max": 300})]
    (template,) = [o for o in ArgoRollouts().objects("n", CASES[0]) if o["kind"] == "AnalysisTemplate"]
    assert [m["successCondition"] for m in template["spec"]["metrics"]] == ["result[0] <= 2", "result[0] <= 300"]
    assert [m["failureLimit"] for m in template["spec"]["metrics"]] == [2, 2]
    checks = Haldane().objects("n", CASES[0])[0]["spec"]["rollout"]["checks"]
    assert checks[0]["errorRate"]["max"] == "2%"
    assert checks[1]["latency"] == {"quantile": "0.99", "max": "300ms"}
