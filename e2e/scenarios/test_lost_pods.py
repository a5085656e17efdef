"""Pods that go away in the middle of a rollout."""

from __future__ import annotations

from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario


@scenario(seconds=180)
async def test_lost_pods(place: Place) -> None:
    """One of stable's pods is deleted, then the candidate's only one: nobody notices, and the rollout comes to its end."""
    two = {"scaling": {"minReplicas": 2}}
    await place.first_deployment("v1", two)
    async with place.traffic():
        generation = await place.apply("v2", two)
        md = await place.until_weight(20)
        assert md.status.stable is not None
        assert md.status.candidate is not None
        await delete(place, next(iter(place.pods_of(md.status.stable.revision))))
        candidate = place.pods_of(md.status.candidate.revision)
        assert len(candidate) == 1
        await delete(place, next(iter(candidate)))
        await place.until("the candidate's traffic to be taken away", lambda md: md.status.rollout.weight == 0, 10)
        await place.until_event("CandidateLost", "no pod of the candidate is ready")
        md = await place.until_stable("v2", generation, seconds=90)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 0, 20, 50, 100, 0]
    assert not md.status.rejected


async def delete(place: Place, uid: str) -> None:
    """Delete a pod, without waiting for its end."""
    name = place.pods[uid]["metadata"]["name"]
    place.say(f"delete pod {name}")
    await place.kube.kubectl("delete", "pod", "-n", place.namespace, name, "--wait=false")
