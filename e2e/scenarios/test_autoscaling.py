"""The number of pods belongs to the autoscaler, where there is one."""

from __future__ import annotations

from e2e.scenarios.cli import haldane
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, condition
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import PROMETHEUS

_SCALED_SECONDS = 120.0
# Any request at all is more than 10 % of a hundredth of a core.
SCALED: Manifest = {
    "scaling": {"minReplicas": 1, "maxReplicas": 2, "metrics": [{"type": "CPU", "target": "10%"}]},
    "rollout": {"steps": [{"weight": 60, "hold": "2s", "approval": True}]},
}


@scenario(seconds=240, needs=[PROMETHEUS])
async def test_autoscaling(place: Place) -> None:
    """In the middle of a rollout the autoscaler adds a pod: passes of the operator leave it, the candidate follows, and takes over with as many."""
    await place.first_deployment("v1", SCALED)
    assert place.now.status.stable is not None
    stable = f"{NAME}-{place.now.status.stable.revision}"
    autoscaler = await place.one("hpa", stable)
    assert autoscaler is not None
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == stable
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (1, 2)

    async with place.traffic():
        generation = await place.apply("v2", SCALED)
        md = await place.until_weight(60)
        assert md.status.candidate is not None
        place.say(f"weight 60 % with {md.status.replicas} pods of v1 and {md.status.candidate.replicas} of v2")
        await place.until("two pods of v1", lambda md: md.status.replicas == 2, _SCALED_SECONDS)
        began = len(place.moments)
        md = await place.until(
            "two ready pods of v2",
            lambda md: md.status.candidate is not None and md.status.candidate.ready_replicas == 2,
        )
        assert md.status.rollout.weight == 60
        assert md.status.candidate is not None
        assert set(await autoscaled(place)) == {stable, f"{NAME}-{md.status.candidate.revision}"}
        await place.until("the question", lambda md: condition(md, "Suspended") is not None)
        await haldane(place, "approve")
        md = await place.until_stable("v2", generation)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 60, 100, 0]
    assert {moment.deployment.status.replicas for moment in place.moments[began:]} == {2}
    assert md.status.stable is not None
    assert await autoscaled(place) == [f"{NAME}-{md.status.stable.revision}"]
    assert len(place.pods) == 4, "two pods each, and none made twice"


async def autoscaled(place: Place) -> list[str]:
    """What the autoscalers scale."""
    return [each["spec"]["scaleTargetRef"]["name"] for each in await place.objects("hpa")]
