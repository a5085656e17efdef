"""When a model is at rest, so that the next episode may begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from e2e.soak.player import Player
from e2e.soak.record import Record
from haldane.api.v1alpha1 import ModelDeployment

REST: dict[str, Any] = {
    "observedGeneration": 3,
    "rollout": {"phase": "Stable"},
    "stable": {"revision": "a", "version": "v1", "replicas": 1, "readyReplicas": 1},
}
REJECTED = {"revision": "b", "version": "v1", "reason": "CheckFailed", "message": "", "at": "2026-01-01T00:00:00Z"}


def deployment(status: dict[str, Any], annotations: dict[str, str]) -> ModelDeployment:
    metadata = {"name": "digits", "namespace": "test", "uid": "1", "generation": 3, "annotations": annotations}
    spec = {"model": {"uri": "s3://models/digits/v1/model.onnx"}}
    kind = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
    return ModelDeployment.from_wire({**kind, "metadata": metadata, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("changes", "annotations", "is_rest"),
    [
        ({}, {}, True),
        ({"observedGeneration": 2}, {}, False),
        ({"rollout": {"phase": "Watching"}}, {}, False),
        ({"candidate": {"revision": "b", "version": "v2"}}, {}, False),
        ({"stable": {"revision": "a", "version": "v1", "replicas": 1}}, {}, False),
        ({"stable": {"revision": "a", "version": "v1", "replicas": 2, "readyReplicas": 2}}, {}, False),
        ({"stable": {"revision": "a", "version": "v0", "replicas": 1, "readyReplicas": 1}}, {}, False),
        # An abort that the operator has not heard of yet, and one that it has.
        ({}, {"haldane.dev/abort": "x"}, False),
        ({"verbs": {"abort": "x"}}, {"haldane.dev/abort": "x"}, True),
    ],
)
def test_rest(changes: dict[str, Any], annotations: dict[str, str], is_rest: bool) -> None:
    player = Player(cast(Any, None), Record("test"), Path("unused"))
    player._generation = 3
    assert player._is_rest(deployment(REST | changes, annotations)) == is_rest


@pytest.mark.parametrize(
    ("token", "heard", "retry", "is_rest"),
    [("", "", "", True), ("a", "a", "a", True), ("a", "a", "", False), ("a", "", "a", False)],
)
def test_a_rejected_version_is_rest_until_it_is_to_be_tried_again(
    token: str, heard: str, retry: str, is_rest: bool
) -> None:
    player = Player(cast(Any, None), Record("test"), Path("unused"))
    player._generation = 3
    stable = {"revision": "a", "version": "v0", "replicas": 1, "readyReplicas": 1}
    status = REST | {"stable": stable, "rejected": [REJECTED | {"retry": retry}]}
    status |= {"verbs": {"retry": heard}} if heard else {}
    annotations = {"haldane.dev/retry": token} if token else {}
    assert player._is_rest(deployment(status, annotations)) == is_rest
