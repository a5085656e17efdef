"""What is read off a record."""

from __future__ import annotations

from typing import Any

from e2e.soak.record import PHASES, phases_at
from haldane.api.v1alpha1 import ModelDeployment


def state(phase: str, **status: Any) -> ModelDeployment:
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "digits", "namespace": "test", "uid": "1", "generation": 1},
            "spec": {"model": {"uri": "s3://models/digits/v1/model.onnx"}},
            "status": {"rollout": {"phase": phase}, **status},
        }
    )


def test_kills_are_counted_by_the_phase_that_they_met() -> None:
    before = {"revision": "0", "version": "1"}
    course = [(1.0, state("Progressing")), (2.0, state("Promoting")), (3.0, state("Promoting", previous=before))]
    met = phases_at([0.5, 1.0, 1.9, 2.5, 9.0], course)
    assert met == {"Progressing": 2, "Promoting": 1, "handover": 1}
    assert set(met) <= set(PHASES)
