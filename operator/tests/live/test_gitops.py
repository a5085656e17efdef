"""A GitOps tool that applies the same manifest again and again: nobody is in anybody's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import Behaviour

if TYPE_CHECKING:
    from .model import Model

pytestmark = pytest.mark.api

Body = dict[str, Any]
TOOL = "argocd-controller"
EVERY = 0.5
"""Seconds between two syncs: more often than any tool does it."""


@contextmanager
def syncing(model: Model, manifest: Body) -> Iterator[list[int]]:
    """Apply a manifest over and over; the answers' status codes."""
    stop, answers = threading.Event(), list[int]()

    def loop() -> None:
        while not stop.wait(EVERY):
            answers.append(model.rest.apply(model.namespace, manifest, TOOL).status)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def in_git(model: Model, version: str) -> Body:
    """A manifest as it stands in git, tracked by labels and annotations."""
    manifest = model.manifest(version)
    manifest["metadata"] |= {
        "labels": {"argocd.argoproj.io/instance": "apps"},
        "annotations": {"argocd.argoproj.io/sync-wave": "1", "haldane.dev/approve": "from git"},
    }
    return manifest


def owned_by_the_tool(body: Body) -> list[Body]:
    """What the API server says the tool owns, without when."""
    entries = [entry for entry in body["metadata"]["managedFields"] if entry["manager"] == TOOL]
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def test_a_sync_loop_during_a_rollout_changes_nothing_and_is_changed_by_nothing(model: Model) -> None:
    assert model.rest.apply(model.namespace, in_git(model, "1.0.0"), TOOL).status == 201
    model.until_stable("1.0.0")
    manifest = in_git(model, "2.0.0")
    asked = model.rest.apply(model.namespace, manifest, TOOL).body
    with syncing(model, manifest) as answers:
        model.until_stable("2.0.0")
    assert set(answers) == {200}
    assert len(answers) > 10
    assert model.hands.weights == [0, 10, 50, 100, 0]

    since = asked["metadata"]["resourceVersion"]
    written = [body for _, body in model.rest.history("ModelDeployment", model.namespace, since)]
    assert written, "status was written"
    volatile = ("resourceVersion", "managedFields")
    for before, body in zip([asked, *written], written, strict=False):
        assert body["spec"] == asked["spec"]
        meta, asked_meta = ({k: v for k, v in b["metadata"].items() if k not in volatile} for b in (body, asked))
        assert meta == asked_meta, "neither generation nor any other metadata"
        assert owned_by_the_tool(body) == owned_by_the_tool(asked), "the tool owns what it owned"
        others = [entry for entry in body["metadata"]["managedFields"] if entry["manager"] != TOOL]
        assert {(entry["manager"], entry.get("subresource")) for entry in others} <= {("haldane", "status")}
        assert all(set(entry["fieldsV1"]) == {"f:status"} for entry in others)
        assert body["status"] != before.get("status"), "only a new status is a new version: no sync made one"


def test_the_bad_spec_again_stays_rejected_with_its_reason(model: Model) -> None:
    bad = in_git(model, "2.0.0")
    assert model.rest.apply(model.namespace, in_git(model, "1.0.0"), TOOL).status == 201
    model.until_stable("1.0.0")
    model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    model.rest.apply(model.namespace, bad, TOOL)
    model.until(lambda: model.phase == "RollingBack", "it is rolled back")
    model.until_stable("1.0.0")
    reason = model.status["rejected"][0]["message"]

    at_rest = model.body["metadata"]["resourceVersion"]
    with syncing(model, bad) as answers:
        time.sleep(4.0)
    assert set(answers) == {200}
    assert model.body["metadata"]["resourceVersion"] == at_rest, "applied again, it is no news to anybody"
    stalled = model.condition("Stalled")
    assert stalled
    assert (stalled["reason"], reason in stalled["message"]) == ("RolledBack", True)

    # Also after another version was promoted in between.
    model.rest.apply(model.namespace, in_git(model, "3.0.0"), TOOL)
    model.until_stable("3.0.0")
    model.rest.apply(model.namespace, bad, TOOL)
    model.until(lambda: model.condition("Stalled") is not None, "it is refused again")
    stalled = model.condition("Stalled")
    assert stalled
    assert (stalled["reason"], reason in stalled["message"]) == ("RolledBack", True)
    assert (model.phase, model.version("stable"), model.version("candidate")) == ("Stable", "3.0.0", None)
    assert len(model.names("Deployment")) == 1
