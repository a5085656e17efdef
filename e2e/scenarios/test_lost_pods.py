"""Pods that go away in the middle of a rollout."""

from __future__ import annotations

from e2e.scenarios.place import RATE, Place
from e2e.scenarios.scenario import scenario

TAKEN_AWAY_WITHIN_SECONDS = 2.0


@scenario(seconds=180)
async def test_lost_pods(place: Place) -> None:
    """One of stable's pods is deleted, then the candidate's only one: its traffic is taken away at once, and given back to the next one.

    Traefik keeps a pod on its way out in the candidate's list and sends it nothing, so that the candidate's share gets 503 instead of falling back to
    stable: what is lost is that share, for as long as the operator needs to set the weight to 0.
    """
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
        deleted = place.time
        await place.until("the candidate's traffic to be taken away", lambda md: md.status.rollout.weight == 0, 10)
        await place.until_event("CandidateLost", "no pod of the candidate is ready")
        md = await place.until_stable("v2", generation, seconds=90)
    lost = place.answers.lost(own=[])
    assert all(at - deleted <= TAKEN_AWAY_WITHIN_SECONDS for at, _ in place.answers.failures), place.answers.failures
    assert lost <= TAKEN_AWAY_WITHIN_SECONDS * RATE * 0.2
    place.say(f"{lost} requests of the candidate's share lost with its only pod")
    assert place.weights() == [0, 20, 0, 20, 50, 100, 0]
    assert not md.status.rejected


async def delete(place: Place, uid: str) -> None:
    """Delete a pod, without waiting for its end."""
    name = place.pods[uid]["metadata"]["name"]
    place.say(f"delete pod {name}")
    await place.kube.kubectl("delete", "pod", "-n", place.namespace, name, "--wait=false")
