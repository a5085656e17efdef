"""The laws, on records of a few events: each breach is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.soak import laws, memory
from e2e.soak.laws import Faults
from e2e.soak.record import WEIGHT, Failure, Record, Seen, Span
from haldane.api.v1alpha1 import ModelDeployment

NAME = "digits"
ALWAYS = Faults([Span(0, 1000)])


class Story:
    """A record in the making: every event a second after the one before, unless told otherwise."""

    def __init__(self) -> None:
        self.record = Record("test")
        self.at = 0.0

    def after(self, seconds: float) -> Story:
        self.at += seconds - 1
        return self

    def _take(self, kind: str, body: dict[str, Any], event: str = "MODIFIED") -> Story:
        self.at += 1
        body["metadata"]["resourceVersion"] = str(len(self.record.seen) + 1)
        self.record.take(self.at, kind, event, body)
        return self

    def pod(self, revision: str, *, ready: bool = True, ending: bool = False) -> Story:
        metadata: dict[str, Any] = {"uid": f"{revision}-0", "labels": {"haldane.dev/revision": revision}}
        if ending:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        return self._take("pods", {"metadata": metadata, "status": status})

    def select(self, service: str, revision: str) -> Story:
        spec = {"selector": {"haldane.dev/revision": revision}}
        return self._take("services", {"metadata": {"name": service}, "spec": spec})

    def weigh(self, weight: int) -> Story:
        metadata = {"name": f"{NAME}-candidate", "annotations": {WEIGHT: str(weight)}}
        return self._take("ingresses", {"metadata": metadata})

    def state(self, phase: str, annotations: dict[str, str] | None = None, **status: Any) -> Story:
        self.at += 1
        version = len(self.record.seen) + 1
        rollout = {"phase": phase, "phaseStartedAt": "2026-01-01T00:00:00.000Z", **status.pop("rollout", {})}
        body = {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {
                "name": NAME,
                "namespace": "test",
                "uid": "1",
                "generation": 1,
                "resourceVersion": str(version),
                "annotations": annotations or {},
            },
            "spec": {
                "model": {"uri": "s3://models/digits/v1/model.onnx"},
                "rollout": {
                    "steps": [{"weight": 20, "hold": "5s"}],
                    "progressDeadline": "60s",
                    "keepStableFor": "5s",
                    "watchAfterPromotion": "5s",
                },
            },
            "status": {"rollout": rollout, **status},
        }
        self.record.seen.append(Seen(version, self.at, ModelDeployment.from_wire(body)))
        return self


def two_revisions() -> Story:
    """Stable with a pod, a candidate with a pod and no share yet."""
    return Story().pod("old").select(NAME, "old").pod("new").select(f"{NAME}-candidate", "new").weigh(0)


def revision(name: str) -> dict[str, Any]:
    return {"revision": name, "version": name, "replicas": 1, "readyReplicas": 1}


def failed(at: float, version: str) -> Failure:
    return Failure(at, version, "503")


def rejected(name: str, retry: str = "") -> dict[str, Any]:
    entry = {"revision": name, "version": name, "reason": "CheckFailed", "message": "", "at": "2026-01-01T00:00:00Z"}
    return {**entry, "retry": retry}


def test_shares_with_pods_behind_them_are_fine() -> None:
    story = two_revisions().weigh(20).weigh(100).select(NAME, "new").weigh(0).pod("old", ending=True)
    assert laws.bare(story.record, NAME) == []
    assert laws.shares_with_pods(story.record, NAME, ALWAYS) == []


def test_a_write_that_points_a_share_at_no_ready_pod_is_a_breach() -> None:
    story = two_revisions().pod("new", ready=False).after(30).weigh(20).weigh(0)
    (breach,) = laws.shares_with_pods(story.record, NAME, ALWAYS)
    assert "20% of the requests led to no ready pod from 36.0 s, by a write" in breach
    story = two_revisions().pod("new", ready=False).after(30).select(NAME, "new").select(NAME, "old")
    assert "100% of the requests" in laws.shares_with_pods(story.record, NAME, ALWAYS)[0]


def test_nobody_can_know_of_a_pod_that_has_just_gone() -> None:
    story = two_revisions().pod("new", ending=True).weigh(20).weigh(0)
    assert laws.shares_with_pods(story.record, NAME, ALWAYS) == []


@pytest.mark.parametrize(
    ("takes", "working", "breaches"),
    [(2, [Span(0, 100)], 0), (20, [Span(0, 100)], 1), (20, [Span(0, 7)], 0), (20, [Span(0, 7), Span(12, 100)], 1)],
)
def test_a_share_whose_pods_end_is_taken_away_by_an_operator_that_works(
    takes: float, working: list[Span], breaches: int
) -> None:
    story = two_revisions().weigh(20).pod("new", ending=True).after(takes).weigh(0)
    assert len(laws.shares_with_pods(story.record, NAME, Faults(working))) == breaches


def test_watches_may_be_heard_of_one_before_the_other() -> None:
    story = two_revisions().weigh(20)
    story.record.seen.reverse()
    assert laws.shares_with_pods(story.record, NAME, ALWAYS) == []


def test_lost_requests_are_told_apart() -> None:
    story = two_revisions().weigh(20).pod("new", ending=True).after(2).weigh(0)
    story.record.deleted = [Span(5.0, 6.0)]
    story.record.failures = [failed(2, "nobody"), failed(3, "broken"), failed(8, "nobody")]
    story.record.failures += [failed(30, "v1"), failed(32, "v1")]
    breaches, forgiven = laws.lost(story.record, NAME, own=["broken"])
    assert breaches == [
        "test: 1 lost at 2.0 s, answered by nobody: 503",
        "test: 2 lost at 30.0 s to 32.0 s, answered by v1: 503",
    ]
    assert forgiven == 1
    story.record.deleted = []
    assert laws.lost(story.record, NAME, own=["broken"])[1] == 0, "nobody but us may take pods away"


def test_a_recreate_promises_nothing_until_all_of_its_pods_are_ready() -> None:
    without = {"rollout": {"strategy": "Recreate"}}
    story = Story().state("Preparing", **without).state("Watching", **without, stable=revision("new"))
    story.record.failures = [failed(1.5, "nobody"), failed(9, "nobody")]
    assert laws.lost(story.record, NAME, own=[]) == (["test: 1 lost at 9.0 s, answered by nobody: 503"], 1)


def test_a_pod_that_answers_no_probe_is_nobody_s_to_answer_for() -> None:
    story = Story().pod("old").select(NAME, "old").after(50).pod("old", ready=False).after(10).pod("old").after(50)
    story.pod("old", ending=True)
    (starved, ended) = laws.bare(story.record, NAME)
    assert (starved.cause, starved.span, starved.others) == ("unready", Span(52, 62), False)
    assert ended.cause == "ended"
    story.record.failures = [failed(45, "v1"), failed(60, "nobody"), failed(70, "nobody"), failed(115, "nobody")]
    breaches, forgiven = laws.lost(story.record, NAME, own=[])
    assert (len(breaches), forgiven) == (1, 2), "nor is what it keeps waiting before it is found out"
    assert "2 lost at 70.0 s to 115.0 s" in breaches[0], "who ends the last pod of stable loses requests"
    assert laws.shares_with_pods(story.record, NAME, ALWAYS) == [], "nobody else was there"


@pytest.mark.parametrize(
    ("token", "before", "now", "breaches"),
    [
        ("", None, None, 1),
        ("", None, "b", 0),
        ("a", "a", "a", 1),
        ("a", "a", " a ", 1),
        ("a", "a", "b", 0),
        ("a", "a", None, 1),
        ("a", "a", "False", 1),
        ("a", None, "a", 0),
        ("a", "false", "a", 0),
    ],
)
def test_a_rejected_revision_comes_back_by_a_new_token_alone(
    token: str, before: str | None, now: str | None, breaches: int
) -> None:
    """As the operator reads tokens: `false` is none, and one that was taken away asks anew."""
    asked, asks = ({"haldane.dev/retry": value} if value else {} for value in (before, now))
    story = Story().state("Stable", asked, rejected=[rejected("bad", token)], stable=revision("old"))
    story.state("Preparing", asks, candidate=revision("bad"), stable=revision("old"))
    assert len(laws.rejected_stay_away(story.record)) == breaches


def test_what_serves_at_rest_is_not_rejected() -> None:
    story = Story().state("Stable", stable=revision("bad"))
    story.state("RollingBack", stable=revision("bad"), rejected=[rejected("bad")])
    assert laws.rejected_stay_away(story.record) == []
    story.state("Stable", stable=revision("bad"), rejected=[rejected("bad")])
    assert laws.rejected_stay_away(story.record) == ["test: bad is rejected and serves at rest at 3.0 s"]


@pytest.mark.parametrize(
    ("phase", "seconds", "faults", "breaches"),
    [
        ("Preparing", 70, ALWAYS, 0),
        ("Preparing", 90, ALWAYS, 1),
        ("Preparing", 90, Faults([Span(0, 20), Span(50, 200)]), 0),
        ("Progressing", 80, ALWAYS, 0),
        ("Progressing", 100, ALWAYS, 1),
        ("Progressing", 100, Faults([Span(0, 1000)], [Span(10, 40)]), 0),
        ("Watching", 40, ALWAYS, 1),
        ("Stable", 900, ALWAYS, 0),
    ],
)
def test_a_phase_ends_in_time(phase: str, seconds: float, faults: Faults, breaches: int) -> None:
    story = Story().state(phase).after(seconds).state("Stable")
    assert len(laws.phases_end(story.record, faults)) == breaches


def test_who_waits_for_a_person_waits() -> None:
    condition = {
        "type": "Suspended",
        "status": "True",
        "reason": "Paused",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    story = Story().state("Preparing", conditions=[condition]).after(500).state("Stable")
    assert laws.phases_end(story.record, ALWAYS) == []


def test_weights_are_shares() -> None:
    assert laws.weights_in_bounds(two_revisions().weigh(100).record) == []
    assert laws.weights_in_bounds(two_revisions().weigh(101).record) == ["test: weight 101 at 6.0 s"]


@pytest.mark.parametrize(
    ("sizes", "grows"),
    [
        ([80.0] * 30, False),
        ([80.0 + step for step in range(60)], True),
        ([120.0] * 6 + [80.0] * 24, False),
        ([80.0, 200.0], False),
    ],
)
def test_memory(sizes: list[float], grows: bool) -> None:
    samples = [(10.0 * number, size) for number, size in enumerate(sizes)]
    assert (memory.complaint(samples) is not None) == grows
