"""The number of pods belongs to the autoscaler, where there is one."""

from __future__ import annotations

from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR

_SCALED_SECONDS = 120.0


@scenario(seconds=220, needs=[OPERATOR])
async def test_autoscaling(place: Place) -> None:
    """Under load the autoscaler adds a pod; passes of the operator leave it, and a rollout's candidate gets as many."""
    # Any request at all is more than 10 % of a hundredth of a core.
    scaled: Manifest = {
        "scaling": {"minReplicas": 1, "maxReplicas": 2, "metrics": [{"type": "CPU", "target": "10%"}]},
        "rollout": {"steps": [{"weight": 50, "hold": "60s"}]},
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
        await place.apply("v2", scaled)
        md = await place.until_weight(50)
    place.answers.must_have_lost_nothing()
    assert md.status.candidate is not None
    assert md.status.candidate.replicas == 1, "half of two pods"
    assert {moment.deployment.status.replicas for moment in place.moments[began:]} == {2}
    live = await place.one("deployment", deployment)
    assert live is not None
    assert live["spec"]["replicas"] == 2
    assert [each["metadata"]["name"] for each in await place.objects("hpa")] == [deployment]
