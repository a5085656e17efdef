from collections.abc import Callable
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def deployment() -> Callable[..., ModelDeployment]:
    """Makes a ModelDeployment of generation 1 from its status, as it comes from the API server."""

    def make(**status: Any) -> ModelDeployment:
        for key in ("stable", "candidate"):
            if isinstance(status.get(key), str):
                status[key] = {"revision": f"r-{status[key]}", "version": status[key]}
        for entry in status.get("rejected", []):
            entry.setdefault("at", AT)
        for check in status.get("rollout", {}).get("checks", []):
            check.setdefault("at", AT)
        if "ready" in status:
            ready = "True" if status.pop("ready") else "False"
            status["conditions"] = [
                {"type": "Ready", "status": ready, "reason": "R", "message": "m", "lastTransitionTime": AT}
            ]
        return ModelDeployment.from_wire(
            {
                "apiVersion": "haldane.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": "digits", "namespace": "demo", "uid": "u", "generation": 1},
                "spec": {"model": {"uri": "s3://models/digits/v1/model.onnx"}},
                "status": {"observedGeneration": 1, "rollout": {"phase": "Stable"}} | status,
            }
        )

    return make
