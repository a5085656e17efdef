"""The number of pods belongs to the autoscaler, where there is one."""

from __future__ import annotations

from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario

_SCALED_SECONDS = 120.0


@scenario(seconds=240)
async def test_autoscaling(place: Place) -> None:
    """Under load the autoscaler adds a pod; passes of the operator leave it, and the version that takes over gets as many and the autoscaler."""
    # Any request at all is more than 10 % of a hundredth of a core.
    scaled: Manifest = {
        "scaling": {"minReplicas": 1, "maxReplicas": 2, "metrics": [{"type": "CPU", "target": "10%"}]},
        "rollout": {"steps": [{"weight": 50, "hold": "5s"}]},
    }
    await place.first_deployment("v1", scaled)
    assert place.now.status.stable is not None
    deployment = f"{NAME}-{place.now.status.stable.revision}"
    autoscaler = await place.one("hpa", deployment)
    assert autoscaler is not None
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (1, 2)

    async with place.traffic():
        await place.until("two pods", lambda md: md.status.replicas == 2, _SCALED_SECONDS)
        await place.until(
            "both to be ready", lambda md: md.status.stable is not None and md.status.stable.ready_replicas == 2
        )
        began = len(place.moments)
        generation = await place.apply("v2", scaled)
        md = await place.until_weight(50)
        assert md.status.candidate is not None
        assert md.status.candidate.replicas == 1, "half of two pods"
        assert await autoscaled(place) == [deployment]
        await place.until_weight(100)
        md = await place.until_stable("v2", generation, seconds=60)
    place.answers.must_have_lost_nothing()
    assert {moment.deployment.status.replicas for moment in place.moments[began:]} == {2}
    assert md.status.stable is not None
    assert await autoscaled(place) == [f"{NAME}-{md.status.stable.revision}"]
    assert len(place.pods) == 4, "two pods each, and none made twice"


async def autoscaled(place: Place) -> list[str]:
    """What the autoscalers scale."""
    return [each["spec"]["scaleTargetRef"]["name"] for each in await place.objects("hpa")]
