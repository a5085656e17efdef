"""The order in which things happen, as the API server itself numbers them: what comes before what costs no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.hands import OWNED, Behaviour

if TYPE_CHECKING:
    from e2e.apiserver.recording import Recording

    from .conftest import Record
    from .model import Model

pytestmark = pytest.mark.api

Body = dict[str, Any]
WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


class Order:
    """What was written in a namespace since some moment, by number."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def versions(self, kind: str, name: str | None = None) -> list[tuple[int, str, Body]]:
        """(number, what became of it, object), in order; of every object of the kind, or of one."""
        return [
            (int(body["metadata"]["resourceVersion"]), what, body)
            for what, body in self._recording.versions(kind)
            if name is None or body["metadata"]["name"] == name
        ]

    def weights(self) -> list[tuple[int, int]]:
        """(number, weight) of the canary route."""
        return [
            (number, int(body["metadata"]["annotations"][WEIGHT]))
            for number, _, body in self.versions("Ingress", "fraud-candidate")
        ]

    def selected(self, revision: str) -> int:
        """When the stable Service was pointed at a revision."""
        return next(
            number
            for number, _, body in self.versions("Service", "fraud")
            if body["spec"]["selector"].get("haldane.dev/revision") == revision
        )

    def decided(self, phase: str) -> int:
        """When status entered a phase."""
        return next(
            number
            for number, _, body in self.versions("ModelDeployment")
            if body.get("status", {}).get("rollout", {}).get("phase") == phase
        )

    def writes_of_the_operator(self, after: int) -> list[tuple[int, str]]:
        """(number, `kind name`) of everything of its own that changed after a number, but for what the hands report."""
        found = []
        for kind in OWNED:
            before: dict[str, Body] = {}
            for number, _, body in self.versions(kind):
                name = body["metadata"]["name"]
                meant = {"spec": body.get("spec"), "annotations": body["metadata"].get("annotations")}
                if before.get(name) != meant and number > after:
                    found.append((number, f"{kind} {name}"))
                before[name] = meant
        return sorted(found)


def uids(model: Model, revision: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in model.hands.pods(f"haldane.dev/revision={revision}")}


def test_a_promotion_hands_over_pods_that_were_loaded_once(model: Model, record: Record) -> None:
    model.create(scaling={"minReplicas": 2})
    model.until_stable("1.0.0")
    old = model.status["stable"]["revision"]
    order = Order(record(model, "ModelDeployment", "Ingress", "Service", "Deployment", "Pod", "EndpointSlice"))
    model.deploy("2.0.0")
    model.until(lambda: model.phase == "Promoting", "the promotion begins")
    model.until(lambda: model.phase == "Watching", "it is promoted")
    new = model.status["stable"]["revision"]
    serving = uids(model, new)
    model.until_stable("2.0.0")

    made = {
        body["metadata"]["uid"]
        for _, what, body in order.versions("Pod")
        if what == "ADDED" and body["metadata"]["labels"]["haldane.dev/revision"] == new
    }
    assert made == serving == uids(model, new), "every pod that was made serves: no model was loaded twice"
    assert len(made) == 2

    full = next(number for number, weight in order.weights() if weight == 100)
    idle = next(number for number, weight in order.weights() if weight == 0 and number > full)
    gone = next(
        number
        for number, what, body in order.versions("Deployment")
        if what == "DELETED" and body["metadata"]["name"] == f"fraud-{old}"
    )
    endpoints = next(
        number
        for number, _, body in order.versions("EndpointSlice", "fraud-slice")
        if {endpoint["targetRef"]["name"] for endpoint in body["endpoints"]} == {f"fraud-{new}-0", f"fraud-{new}-1"}
    )
    assert full < order.selected(new) < endpoints < order.decided("Watching") < idle < gone


def test_a_failed_check_is_at_the_route_before_anything_else_is_done(model: Model, record: Record) -> None:
    model.create()
    model.until_stable("1.0.0")
    model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    order = Order(record(model, "ModelDeployment", *OWNED))
    model.deploy("2.0.0")
    model.until(lambda: model.phase == "RollingBack", "it is rolled back")
    model.until_stable("1.0.0")

    decided = order.decided("RollingBack")
    first, *_ = order.writes_of_the_operator(after=decided)
    assert first[1] == "Ingress fraud-candidate"
    assert [weight for number, weight in order.weights() if number >= first[0]] == [0]
    # One pass: it was judged, decided and written with nothing in between but the status itself.
    between = [number for number, _, _ in order.versions("ModelDeployment") if decided < number < first[0]]
    assert between == []
    failed = next(body for number, _, body in order.versions("ModelDeployment") if number == decided)
    assert [check["verdict"] for check in failed["status"]["rollout"]["checks"]] == ["Fail"]


def test_a_failure_after_the_promotion_goes_back_to_the_pods_that_are_still_warm(model: Model, record: Record) -> None:
    rollout = model.manifest("")["spec"]["rollout"] | {"keepStableFor": "10m", "watchAfterPromotion": "10m"}
    model.create(scaling={"minReplicas": 2}, rollout=rollout)
    model.until_stable("1.0.0")
    old = model.status["stable"]["revision"]
    warm = uids(model, old)
    model.deploy("2.0.0")
    model.until_phase("Watching")
    bad = model.status["stable"]["revision"]
    order = Order(record(model, "ModelDeployment", *OWNED))
    model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    model.until_phase("RollingBack")
    assert model.version("stable") == "1.0.0", "there was nothing to wait for"
    model.until_stable("1.0.0")

    assert uids(model, old) == warm, "no model was loaded again"
    first, *_ = order.writes_of_the_operator(after=order.decided("RollingBack"))
    assert first == (order.selected(old), "Service fraud")
    gone = next(number for number, what, _ in order.versions("Deployment") if what == "DELETED")
    assert gone > first[0]
    assert [entry["revision"] for entry in model.status["rejected"]] == [bad]
    assert "after the promotion" in model.status["rejected"][0]["message"]
