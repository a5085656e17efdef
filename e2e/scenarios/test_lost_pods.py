"""Pods that go away in the middle of a rollout, by another's hand or by their own."""

from __future__ import annotations

from e2e.harness import processes
from e2e.scenarios.place import RATE, Place
from e2e.scenarios.scenario import scenario

TAKEN_AWAY_WITHIN_SECONDS = 6.0
"""Some 2 s on a quiet machine; all scenarios at once may keep the operator or Traefik waiting."""
SHARE = 0.2
SLOWLY = {"scaling": {"minReplicas": 2}, "rollout": {"steps": [{"weight": 20, "hold": "60s"}]}}


@scenario(seconds=180)
async def test_lost_pods(place: Place) -> None:
    """One of stable's pods is deleted; the candidate's only one is deleted, then its successor crashes: its traffic is taken away at once each time.

    After a deletion the step is tried again with the next pod; after a crash the version is rejected. Traefik keeps a pod on its way out in the
    candidate's list and sends it nothing, so that the candidate's share gets 503 instead of falling back to stable: what is lost is that share, for
    as long as the operator needs to set the weight to 0.
    """
    await place.first_deployment("v1", SLOWLY)
    async with place.traffic():
        await place.apply("v2", SLOWLY)
        md = await place.until_weight(20)
        assert md.status.stable is not None
        assert md.status.candidate is not None
        candidate = md.status.candidate.revision
        await delete(place, next(iter(place.pods_of(md.status.stable.revision))))
        (pod,) = place.pods_of(candidate)
        deleted = place.time
        await delete(place, pod)
        gone = place.time
        await place.until("the candidate's traffic to be taken away", lambda _: place.weights()[:3] == [0, 20, 0], 10)
        await place.until_event("CandidateLost", "no pod of the candidate is ready")

        await place.until("its next traffic", lambda _: place.weights()[:4] == [0, 20, 0, 20])
        await place.until("the share to be seen", lambda md: md.status.rollout.step_started_at is not None)
        (again,) = place.pods_of(candidate).keys() - {pod}
        crashed = place.time
        await processes.kill(place.pods[again])
        ended = place.time
        place.say(f"killed {place.pods[again]['metadata']['name']}")
        md = await place.until_rolled_back("v2")
    lost = place.answers.lost(own=[])
    place.say(f"{lost} requests of the candidate's share lost with its only pod, twice")
    windows = ((deleted, gone), (crashed, ended))
    for at, why in place.answers.failures:
        assert any(since <= at <= until + TAKEN_AWAY_WITHIN_SECONDS for since, until in windows), (at - ended, why)
    assert lost <= 2 * TAKEN_AWAY_WITHIN_SECONDS * RATE * SHARE
    assert place.weights() == [0, 20, 0, 20, 0]
    assert md.status.rejected[-1].reason == "CandidateCrashed"
    assert "exit code 137" in md.status.rejected[-1].message
    await place.until_event("RolledBack", "its pods crashed")


async def delete(place: Place, uid: str) -> None:
    """Delete a pod, without waiting for its end."""
    name = place.pods[uid]["metadata"]["name"]
    place.say(f"delete pod {name}")
    await place.kube.kubectl("delete", "pod", "-n", place.namespace, name, "--wait=false")
