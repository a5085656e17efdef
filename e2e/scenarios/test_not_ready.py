"""A candidate whose pods never become ready: the cause is told, stable serves on, and the next version or the deadline takes it back."""

from __future__ import annotations

from collections.abc import Sequence
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


NO_MODEL = Cause("no-model", "ModelNotFound", "digits/v9", {"model": {"uri": "s3://models/digits/v9/model.onnx"}})
WRONG_KEY = Cause(
    "wrong-key",
    "AccessDenied",
    "credentialsSecret",
    {"model": {"credentialsSecret": "wrong"}},
    {"AWS_ACCESS_KEY_ID": "demo-access", "AWS_SECRET_ACCESS_KEY": "not-the-key"},
)
WRONG_CHECKSUM = Cause("wrong-checksum", "ChecksumMismatch", "00000000", {"model": {"sha256": "0" * 64}})
NO_SECRET = Cause(
    "no-secret", "CreateContainerConfigError", "Secret absent", {"model": {"credentialsSecret": "absent"}}
)
NOT_ONNX = Cause("not-onnx", "InvalidModel", "ONNX", {"model": {"uri": "s3://models/digits/broken/model.onnx"}})
NO_STORAGE = Cause(
    "no-storage",
    "StorageUnreachable",
    "s3.nowhere.svc",
    {"model": {"s3": {"endpoint": "http://s3.nowhere.svc:8333"}}},
)
NO_IMAGE = Cause(
    "no-image", "ImagePullBackOff", "haldane.invalid/no", {"runtime": {"image": "haldane.invalid/no:such"}}
)
NO_NODE = Cause("no-node", "Unschedulable", "node", {"runtime": {"nodeSelector": {"example.com/no-node-has": "this"}}})


@pytest.mark.parametrize(
    "causes",
    [(NO_MODEL, WRONG_KEY, NO_IMAGE, NO_NODE), (NO_STORAGE, WRONG_CHECKSUM, NO_SECRET, NOT_ONNX)],
    ids=lambda causes: causes[-1].name,
)
@scenario(seconds=200, needs=[OPERATOR])
async def test_not_ready(place: Place, causes: Sequence[Cause]) -> None:
    """A condition and an Event name each cause within 30 s, and stable answers every request; the deadline ends the last one, its successor each other."""
    *superseded, last = causes
    await place.first_deployment("v1")
    async with place.traffic(rate=20):
        for cause in superseded:
            await must_be_told(place, cause, {})
        await must_be_told(place, last, DEADLINE)
        md = await place.until_rolled_back(last.name, seconds=45)
    place.answers.must_have_lost_nothing()
    assert place.answers.count("v1") == place.answers.requests
    (rejected,) = md.status.rejected
    assert rejected.reason == "ProgressDeadlineExceeded"
    assert last.reason in rejected.message
    assert [(entry.version, entry.outcome) for entry in md.status.history] == [
        ("v1", "Promoted"),
        *((cause.name, "Superseded") for cause in superseded),
        (last.name, "RolledBack"),
    ]
    assert place.weights() == [0]
    assert is_true(md, "Available")
    assert is_true(md, "Stalled")
    await place.until_event("RolledBack", last.reason)


async def must_be_told(place: Place, cause: Cause, changes: Manifest) -> None:
    """Ask for what cannot work: Ready says why, an Event warns, stable is Available."""
    model = {**cause.changes.get("model", {}), "version": cause.name}
    if cause.secret:
        secret = {"apiVersion": "v1", "kind": "Secret", "stringData": cause.secret}
        metadata = {"name": model["credentialsSecret"], "namespace": place.namespace}
        await place.apply_objects("secret", [{**secret, "metadata": metadata}])
    began = place.time
    await place.apply("v2", {**changes, **cause.changes, "model": model})

    def is_told(md: ModelDeployment) -> bool:
        ready = condition(md, "Ready")
        return ready is not None and cause.reason in ready.message and cause.words in ready.message

    md = await place.until(f"a condition that says {cause.reason} and {cause.words!r}", is_told, TOLD_WITHIN_SECONDS)
    told = place.time - began
    ready = condition(md, "Ready")
    assert ready is not None
    place.say(f"{cause.name}: told after {told:.1f} s: {ready.message}")
    assert ready.status == "False"
    assert is_true(md, "Available")
    assert is_true(md, "Reconciling")
    event = await place.until_event(cause.reason, cause.words, TOLD_WITHIN_SECONDS - told)
    assert event["type"] == "Warning"
