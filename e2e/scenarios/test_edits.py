"""Edits of spec that are no new model, and one that takes a new model back."""

from __future__ import annotations

from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, is_true
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR

BACK_WITHIN_SECONDS = 2.0


@scenario(seconds=90, needs=[OPERATOR])
async def test_scaling_edit(place: Place) -> None:
    """More pods of the same revision; edits of scaling, traffic and rollout begin no rollout."""
    await place.first_deployment("v1")
    first = place.now.status.stable
    assert first is not None
    (one,) = place.pods_of(first.revision)
    edit: Manifest = {
        "scaling": {"minReplicas": 2},
        "traffic": {"ingress": {"annotations": {"example.com/team": "digits"}}},
        "rollout": {"steps": [{"weight": 10, "hold": "7s"}]},
    }
    async with place.traffic():
        generation = await place.apply("v1", edit)
        await place.until(
            "two ready pods",
            lambda md: (
                md.status.observed_generation == generation
                and md.status.stable is not None
                and md.status.stable.ready_replicas == 2
            ),
        )
        generation = await place.apply("v1")
        await place.until(
            "one pod again",
            lambda md: md.status.observed_generation == generation and md.status.replicas == 1,
        )
    place.answers.must_have_lost_nothing()
    assert place.phases() == ["Initializing", "Stable"]
    assert place.now.status.stable is not None
    assert place.now.status.stable.revision == first.revision
    assert is_true(place.now, "Ready")
    assert len(await place.objects("controllerrevisions")) == 1
    assert set(place.pods) == set(place.pods_of(first.revision))
    assert one in place.pods
    assert len(place.pods) == 2


@scenario(seconds=120)
async def test_set_back(place: Place) -> None:
    """The spec goes back to what serves in the middle of a rollout: no more traffic to the candidate after 2 s, and no new pod."""
    slowly: Manifest = {"rollout": {"steps": [{"weight": 50, "hold": "60s"}]}}
    await place.first_deployment("v1", slowly)
    async with place.traffic():
        await place.apply("v2", slowly)
        await place.until("the share to be seen", lambda md: md.status.rollout.step_started_at is not None)
        before = set(place.pods)
        generation = await place.apply("v1", slowly)
        applied = place.time
        await place.until_weight(0, BACK_WITHIN_SECONDS)
        md = await place.until_stable("v1", generation)
    place.answers.must_have_lost_nothing()
    last = place.answers.last_sent_at["v2"] - applied
    place.say(f"last request to v2 {last:.2f} s after the spec was set back")
    assert last <= BACK_WITHIN_SECONDS
    assert set(place.pods) == before
    assert md.status.history[-1].outcome == "Aborted"
    assert not md.status.rejected
    await place.until_event("Aborted", "v1")
    assert [each["metadata"]["name"] for each in await place.objects("deployments")] == [
        f"{NAME}-{md.status.stable.revision if md.status.stable else ''}"
    ]


@scenario(seconds=150)
async def test_superseded(place: Place) -> None:
    """A third version in the middle of the second's rollout: the second leaves first, then the third takes its own way."""
    slowly: Manifest = {"rollout": {"steps": [{"weight": 50, "hold": "60s"}]}}
    await place.first_deployment("v1")
    async with place.traffic():
        await place.apply("v2", slowly)
        await place.until("the share to be seen", lambda md: md.status.rollout.step_started_at is not None)
        third: Manifest = {"model": {"version": "v2-again"}}
        generation = await place.apply("v2", third)
        applied = place.time
        await place.until_weight(0, BACK_WITHIN_SECONDS)
        md = await place.until_stable("v2-again", generation, seconds=75)
    place.answers.must_have_lost_nothing()
    assert place.answers.last_sent_at["v2"] - applied <= BACK_WITHIN_SECONDS
    assert place.answers.first_sent_at["v2-again"] > place.answers.last_sent_at["v2"]
    assert place.weights() == [0, 50, 0, 20, 50, 100, 0]
    assert [entry.outcome for entry in md.status.history] == ["Promoted", "Superseded", "Promoted"]
    assert not md.status.rejected
