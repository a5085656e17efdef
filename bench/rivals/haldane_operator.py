"""Haldane's operator, as the bench sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.rivals.app import (
    DEADLINE_SECONDS,
    ERRORS,
    HOLD_SECONDS,
    NEW,
    P99,
    WEIGHTS,
    Manifest,
    Version,
    model_deployment,
)
from bench.rivals.cases import Case
from bench.rivals.controller import Home, Kind
from bench.rivals.observed import State
from e2e.harness.kube import OPERATOR_NAMESPACE
from haldane.api.v1alpha1 import GROUP, PLURAL, VERSION, ModelDeployment

ABORT: Final = 5
"""Per cent of errors beyond which Haldane goes back at once; the others have no second limit."""
ROLLOUT: Final[Manifest] = {
    "steps": [{"weight": weight, "hold": f"{HOLD_SECONDS}s"} for weight in WEIGHTS],
    "analysis": {"interval": "1s", "window": "30s", "warmup": "0s", "minRequests": 20},
    "checks": [{"name": "errors", "errorRate": {"max": f"{ERRORS}%", "abort": f"{ABORT}%"}}, P99],
    "progressDeadline": f"{DEADLINE_SECONDS}s",
    "keepStableFor": "10s",
    "watchAfterPromotion": "10s",
}


class Haldane:
    """Its one object both gets the change and tells how it goes."""

    name = "haldane"
    title = "Haldane"
    home = Home(OPERATOR_NAMESPACE, "app.kubernetes.io/name=haldane")
    changed = watched = Kind(GROUP, VERSION, PLURAL)

    def objects(self, namespace: str, case: Case) -> Sequence[Manifest]:
        return [model_deployment(namespace, case.old, _rollout(case))]

    def change(self, namespace: str, case: Case, version: Version) -> Manifest:
        spec = dict(model_deployment(namespace, version, _rollout(case))["spec"])
        # What the other version leaves out must go: this is a merge.
        spec["runtime"] = {"batching": None, **spec["runtime"]}
        return {"spec": spec}

    def serves(self, body: Manifest) -> bool:
        status = ModelDeployment.from_wire(body).status
        ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
        return ready and status.rollout.phase == "Stable"

    def state(self, body: Manifest, before: Manifest) -> State:
        md = ModelDeployment.from_wire(body)
        status, rollout = md.status, md.status.rollout
        if status.stable is not None and status.stable.version == NEW and rollout.phase in ("Promoting", "Watching"):
            # The stable Service is the new version's: what follows is to find the old route idle, and to watch.
            return State(False, "promoted", 100, rollout.message)
        if rollout.phase != "Stable" or status.observed_generation != md.metadata.generation:
            return State(True, "", rollout.weight, rollout.message)
        past = status.history[len(ModelDeployment.from_wire(before).status.history) :]
        ended = next((entry for entry in reversed(past) if entry.version == NEW), None)
        if ended is None:
            return State(True, "", rollout.weight, rollout.message)
        outcome = {"Promoted": "promoted", "RolledBack": "rolled back"}.get(ended.outcome, "set back")
        condition = next((each.message for each in status.conditions if each.type == "Ready"), "")
        return State(False, outcome, rollout.weight, condition if outcome == "rolled back" else ended.message)


def _rollout(case: Case) -> Manifest:
    analysis = {**ROLLOUT["analysis"], **case.rollout.get("analysis", {})}
    return {**ROLLOUT, **case.rollout, "analysis": analysis}
