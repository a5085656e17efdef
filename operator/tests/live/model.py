"""One ModelDeployment of a test: what a user does with it, and what a user sees of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import Hands

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

Body = dict[str, Any]


class Model:
    """One ModelDeployment of a test."""

    def __init__(self, rest: Rest, hands: Hands, name: str = "fraud") -> None:
        self.rest, self.hands, self.name = rest, hands, name
        self.namespace = hands.namespace

    def create(self, version: str = "1.0.0", **spec: Any) -> None:
        """Create it; `spec` replaces whole sections."""
        made = self.rest.create(self.namespace, self.manifest(version, **spec))
        assert made.status == 201, made

    def manifest(self, version: str, **spec: Any) -> Body:
        """What stands in git."""
        return {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name},
            "spec": {
                "model": _model(version),
                "traffic": {"host": "fraud.example.com", "ingress": {"className": "nginx"}},
                "rollout": {
                    "steps": [{"weight": 10, "hold": "1s"}, {"weight": 50, "hold": "1s"}],
                    "analysis": {"interval": "1s", "window": "10s", "warmup": "0s", "minRequests": 20},
                    "checks": [{"name": "errors", "errorRate": {"max": "1%", "abort": "20%"}}],
                    "progressDeadline": "60s",
                    "keepStableFor": "2s",
                    "watchAfterPromotion": "2s",
                },
                **spec,
            },
        }

    def edit(self, spec: Body) -> None:
        """A JSON merge patch of spec, as a user would."""
        answer = self.rest.merge("ModelDeployment", self.namespace, self.name, {"spec": spec})
        assert answer.status == 200, answer

    def annotate(self, verb: str, value: str | None, manager: str = "haldane:alice") -> None:
        """Ask for something by a verb's annotation, as somebody; None takes it away."""
        change = {"metadata": {"annotations": {f"haldane.dev/{verb}": value}}}
        answer = self.rest.merge("ModelDeployment", self.namespace, self.name, change, fieldManager=manager)
        assert answer.status == 200, answer

    def deploy(self, version: str) -> None:
        """Ask for another model."""
        self.edit({"model": _model(version)})

    @property
    def body(self) -> Body:
        return self.rest.get("ModelDeployment", self.namespace, self.name).body

    @property
    def status(self) -> Body:
        status: Body = self.body.get("status", {})
        return status

    @property
    def phase(self) -> str:
        return str(self.status.get("rollout", {}).get("phase"))

    def version(self, role: str) -> str | None:
        found = self.status.get(role)
        return str(found["version"]) if found else None

    def condition(self, kind: str) -> Body | None:
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), None)

    def children(self, kind: str) -> list[Body]:
        return self.rest.items(kind, self.namespace, f"haldane.dev/model={self.name}")

    def names(self, kind: str) -> set[str]:
        return {child["metadata"]["name"] for child in self.children(kind)}

    def events(self) -> set[str]:
        """Reasons of the Events about it."""
        return {event["reason"] for event in self.rest.items("Event", self.namespace)}

    def notes(self) -> str:
        """Texts of the Events about it."""
        return "\n".join(event["message"] for event in self.rest.items("Event", self.namespace))

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Let the hands work until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:.0f} s in vain until {what}; status: {self.status}")
            self.hands.work()
            time.sleep(0.1)

    def until_phase(self, phase: str) -> None:
        """Wait for a phase of the rollout."""
        self.until(lambda: self.phase == phase, f"the phase is {phase}")

    def until_stable(self, version: str, seconds: float = 60.0) -> None:
        """Wait for the end of a rollout (or of the first deployment) with `version` as stable."""
        self.until(
            lambda: self.phase == "Stable" and self.version("stable") == version, f"{version} is stable", seconds
        )


def _model(version: str) -> Body:
    return {"uri": f"s3://models/fraud/{version}/model.onnx", "version": version}
