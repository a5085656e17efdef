"""Edits of spec that are no new model, and one that takes a new model back."""

from __future__ import annotations

from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, is_true
from e2e.scenarios.scenario import scenario
from haldane.api.status import RevisionStatus

BACK_WITHIN_SECONDS = 2.0


@scenario(seconds=180)
async def test_scaling_edit(place: Place) -> None:
    """More pods of the same revision, at rest and in the middle of a rollout; edits of scaling, traffic and rollout begin none and disturb none."""
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
        assert all(moment.deployment.status.candidate is None for moment in place.moments), "an edit is no rollout"
        assert place.now.status.stable is not None
        assert place.now.status.stable.revision == first.revision
        assert is_true(place.now, "Ready")
        assert len(await place.objects("controllerrevisions")) == 1
        assert set(place.pods) == set(place.pods_of(first.revision))
        assert one in place.pods
        assert len(place.pods) == 2

        await place.apply("v2", {"rollout": {"steps": [{"weight": 60, "hold": "60s"}]}})
        began = await place.until("the share to be seen", lambda md: md.status.rollout.step_started_at is not None)
        assert (replicas(began.status.stable), replicas(began.status.candidate)) == (1, 1)
        await place.apply("v2", {"rollout": {"steps": [{"weight": 60, "hold": "60s"}]}, "scaling": {"minReplicas": 2}})
        md = await place.until(
            "both to grow, at the same weight",
            lambda md: (replicas(md.status.stable, ready=True), replicas(md.status.candidate, ready=True)) == (2, 2),
        )
        assert md.status.rollout.step_started_at == began.status.rollout.step_started_at, "the step goes on"
        generation = await place.apply(
            "v2", {"rollout": {"steps": [{"weight": 60, "hold": "5s"}]}, "scaling": {"minReplicas": 2}}
        )
        md = await place.until_stable("v2", generation)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 60, 100, 0]
    assert md.status.stable is not None
    assert len(place.pods_of(md.status.stable.revision)) == 2, "none was made twice"
    assert [entry.outcome for entry in md.status.history] == ["Promoted", "Promoted"]


def replicas(revision: RevisionStatus | None, ready: bool = False) -> int:
    """How many pods a revision is to have, or has that are ready; 0 without a revision."""
    if revision is None:
        return 0
    return revision.ready_replicas if ready else revision.replicas


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


@scenario(seconds=120)
async def test_superseded(place: Place) -> None:
    """A third version, a bad one, in the middle of the second's rollout: the second leaves first, then the third takes its own way."""
    slowly: Manifest = {"rollout": {"steps": [{"weight": 50, "hold": "60s"}]}}
    await place.first_deployment("v1")
    async with place.traffic():
        await place.apply("v2", slowly)
        await place.until("the share to be seen", lambda md: md.status.rollout.step_started_at is not None)
        await place.apply("v4-broken")
        applied = place.time
        await place.until_weight(0, BACK_WITHIN_SECONDS)
        md = await place.until_rolled_back("v4-broken")
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert place.answers.last_sent_at["v2"] - applied <= BACK_WITHIN_SECONDS
    assert place.answers.first_sent_at["v4-broken"] > place.answers.last_sent_at["v2"]
    assert place.weights() == [0, 50, 0, 20, 0]
    assert [entry.outcome for entry in md.status.history] == ["Promoted", "Superseded", "RolledBack"]
    assert [rejected.version for rejected in md.status.rejected] == ["v4-broken"]
