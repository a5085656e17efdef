"""After a release was taken back: the CRD, and what was written by it, may know more than the operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import Behaviour

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

    from .model import Model

pytestmark = pytest.mark.api

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeldeployments.haldane.dev"
SERVED_SECONDS = 20.0


@pytest.fixture
def newer_crd(rest: Rest, crd_installed: None) -> Iterator[None]:
    """The CRD with a field that this operator does not know."""
    assert _write(rest, {"newField": {"type": "integer"}}) == 200
    yield
    assert _write(rest, {}) == 200


def _write(rest: Rest, more: dict[str, Any]) -> int:
    crd = rest.send("GET", CRD).body
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields = schema["properties"]["spec"]["properties"]["rollout"]["properties"]
    fields.pop("newField", None)
    fields.update(more)
    return rest.send("PUT", CRD, crd).status


def test_a_rollout_goes_back_although_its_spec_has_a_field_of_a_newer_release(model: Model, newer_crd: None) -> None:
    model.create()
    model.until_stable("1.0.0")
    rollout = {"steps": [{"weight": 50, "hold": "10m"}]}
    model.edit({"rollout": rollout})
    model.deploy("2.0.0")
    model.until(lambda: model.hands.weights[-1:] == [50], "the candidate has its share")
    deadline = time.monotonic() + SERVED_SECONDS
    while "newField" not in model.body["spec"]["rollout"]:  # the API server takes a while to know the field
        assert time.monotonic() < deadline
        model.edit({"rollout": {"newField": 1}})
        time.sleep(0.1)
    model.until(lambda: (model.condition("Stalled") or {}).get("reason") == "InvalidSpec", "status names the field")
    stalled = model.condition("Stalled")
    assert stalled
    assert "this operator does not know spec.rollout.newField" in stalled["message"]
    model.until(lambda: "does not know spec.rollout.newField" in model.notes(), "an Event names it")
    assert model.hands.weights[-1] == 50

    model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    model.until(lambda: model.hands.weights[-1] == 0, "its checks take the traffic away")
    model.until_stable("1.0.0")
    assert [entry["reason"] for entry in model.status["rejected"]] == ["CheckFailed"]
