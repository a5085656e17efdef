"""A candidate whose pods never become ready: the cause is told, stable serves on, and the deadline takes it back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place, condition, is_true
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR
from haldane.api.v1alpha1 import ModelDeployment

TOLD_WITHIN_SECONDS = 30.0
DEADLINE = {"rollout": {"progressDeadline": "20s"}}


@dataclass(frozen=True)
class Cause:
    """What is wrong with a candidate, and the reason and the words that a person must be told."""

    name: str
    reason: str
    words: str
    changes: Manifest
    secret: Manifest = field(default_factory=dict)


CAUSES = (
    Cause("no-model", "ModelNotFound", "digits/v9", {"model": {"uri": "s3://models/digits/v9/model.onnx"}}),
    Cause(
        "wrong-key",
        "AccessDenied",
        "credentialsSecret",
        {"model": {"credentialsSecret": "wrong"}},
        {"AWS_ACCESS_KEY_ID": "demo-access", "AWS_SECRET_ACCESS_KEY": "not-the-key"},
    ),
    Cause("wrong-checksum", "ChecksumMismatch", "00000000", {"model": {"sha256": "0" * 64}}),
    Cause("no-secret", "CreateContainerConfigError", "Secret absent", {"model": {"credentialsSecret": "absent"}}),
    Cause("not-onnx", "InvalidModel", "ONNX", {"model": {"uri": "s3://models/digits/broken/model.onnx"}}),
    Cause(
        "no-storage",
        "StorageUnreachable",
        "s3.nowhere.svc",
        {"model": {"s3": {"endpoint": "http://s3.nowhere.svc:8333"}}},
    ),
    Cause("no-image", "ImagePullBackOff", "haldane.invalid/no", {"runtime": {"image": "haldane.invalid/no:such"}}),
    Cause("no-node", "Unschedulable", "node", {"runtime": {"nodeSelector": {"example.com/no-node-has": "this"}}}),
)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
@scenario(seconds=150, needs=[OPERATOR])
async def test_not_ready(place: Place, cause: Cause) -> None:
    """A condition and an Event name the cause within 30 s; stable answers every request; the deadline ends it."""
    await place.first_deployment("v1", DEADLINE)
    if cause.secret:
        secret = {"apiVersion": "v1", "kind": "Secret", "stringData": cause.secret}
        metadata = {"name": cause.changes["model"]["credentialsSecret"], "namespace": place.namespace}
        await place.apply_objects("secret", [{**secret, "metadata": metadata}])
    async with place.traffic(rate=20):
        began = place.time
        await place.apply("v2", {**DEADLINE, **cause.changes})

        def is_told(md: ModelDeployment) -> bool:
            ready = condition(md, "Ready")
            return ready is not None and cause.reason in ready.message and cause.words in ready.message

        md = await place.until(
            f"a condition that says {cause.reason} and {cause.words!r}", is_told, TOLD_WITHIN_SECONDS
        )
        told = place.time - began
        ready = condition(md, "Ready")
        assert ready is not None
        place.say(f"told after {told:.1f} s: {ready.message}")
        assert ready.status == "False"
        assert is_true(md, "Available")
        assert is_true(md, "Reconciling")
        event = await place.until_event(cause.reason, cause.words, TOLD_WITHIN_SECONDS - told)
        assert event["type"] == "Warning"

        md = await place.until_rolled_back("v2", seconds=45)
    place.answers.must_have_lost_nothing()
    assert place.answers.count("v1") == place.answers.requests
    rejected = md.status.rejected[-1]
    assert rejected.reason == "ProgressDeadlineExceeded"
    assert cause.reason in rejected.message
    assert place.weights() == [0]
    assert is_true(md, "Available")
    assert is_true(md, "Stalled")
    await place.until_event("RolledBack", cause.reason)
