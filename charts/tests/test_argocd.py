"""Argo CD's health of a ModelDeployment, by the Lua 5.1 that Argo CD runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from haldane.plan import status

Manifest = dict[str, Any]
Health = Callable[[Manifest], tuple[str, str]]


def model(
    *conditions: tuple[str, str, str], generation: int = 1, observed: int | None = 1, **metadata: Any
) -> Manifest:
    made: Manifest = {
        "conditions": [
            {"type": kind, "status": value, "reason": "Reason", "message": message}
            for kind, value, message in conditions
        ]
    }
    if observed is not None:
        made["observedGeneration"] = observed
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud", "generation": generation, **metadata},
        "status": made,
    }


NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = ("Ready", "True", "2.0.0 serves.")
AVAILABLE = ("Available", "True", "Stable serves.")
UNTAKEN = "Waiting for the Haldane operator to take up the ModelDeployment."
CASES = {
    "never seen": ({"metadata": {"name": "fraud"}}, ("Progressing", UNTAKEN)),
    "status without conditions": ({"metadata": {"name": "fraud"}, "status": {}}, ("Progressing", UNTAKEN)),
    "serves": (model(READY, AVAILABLE), ("Healthy", "2.0.0 serves.")),
    "spec is newer than status": (
        model(READY, generation=2),
        ("Progressing", "Waiting for the Haldane operator to take up the last change."),
    ),
    "a rollout is under way": (
        model(("Ready", "False", "Waits."), AVAILABLE, ("Reconciling", "True", "2.1.0 gets 25 %.")),
        ("Progressing", "2.1.0 gets 25 %."),
    ),
    "ready, and watched after its promotion": (
        model(READY, ("Reconciling", "True", "Watching 2.1.0.")),
        ("Progressing", "Watching 2.1.0."),
    ),
    "rolled back, though stable serves": (
        model(("Ready", "False", "Rolled back."), AVAILABLE, ("Stalled", "True", "errors: 4 % is above 1 %.")),
        ("Degraded", "errors: 4 % is above 1 %."),
    ),
    "waits for a person": (
        model(("Ready", "False", "x"), ("Reconciling", "True", "y"), ("Suspended", "True", "Waits for approval.")),
        ("Suspended", "Waits for approval."),
    ),
    "paused at rest": (model(READY, ("Suspended", "True", "Paused.")), ("Suspended", "Paused.")),
    "paused after a rollback": (
        model(("Ready", "False", "x"), ("Stalled", "True", "z"), ("Suspended", "True", "Paused.")),
        ("Degraded", "z"),
    ),
    "stalled and reconciling": (
        model(("Ready", "False", "x"), ("Reconciling", "True", "y"), ("Stalled", "True", "z")),
        ("Degraded", "z"),
    ),
    "lost its pods": (model(("Ready", "False", "0 of 2 pods are ready.")), ("Degraded", "0 of 2 pods are ready.")),
    "not known": (model(("Ready", "Unknown", "Not seen yet.")), ("Progressing", "Not seen yet.")),
    "being deleted": (
        model(READY, deletionTimestamp="2026-01-01T00:00:00Z"),
        ("Progressing", "The ModelDeployment is being deleted."),
    ),
    "a condition that this script does not know": (
        model(READY, ("Stopped", "False", "?"), ("Suspended", "False", "?")),
        ("Healthy", "2.0.0 serves."),
    ),
    "conditions that are present but false": (
        model(READY, ("Reconciling", "False", "?"), ("Stalled", "False", "?")),
        ("Healthy", "2.0.0 serves."),
    ),
    "no observed generation": (model(READY, observed=None), ("Healthy", "2.0.0 serves.")),
}


@pytest.mark.parametrize(("body", "verdict"), CASES.values(), ids=CASES.keys())
def test_health(health: Health, body: Manifest, verdict: tuple[str, str]) -> None:
    assert health(body) == verdict


def test_health_of_what_the_operator_writes_about_a_spec_that_cannot_be_used(health: Health) -> None:
    body = model(READY, AVAILABLE)
    body["status"] = status.invalid(body, ValueError("runtime.podTemplate has two containers named runtime"), NOW)
    verdict, message = health(body)
    assert verdict == "Degraded"
    assert "runtime.podTemplate has two containers named runtime" in message
