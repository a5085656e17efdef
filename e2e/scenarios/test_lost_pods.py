"""Pods that go away in the middle of a rollout, by another's hand or by their own."""

from __future__ import annotations

from e2e.harness import processes
from e2e.scenarios.place import RATE, Place
from e2e.scenarios.scenario import scenario
from haldane.api.v1alpha1 import ModelDeployment

TAKEN_AWAY_WITHIN_SECONDS = 6.0
"""Some 2 s on a quiet machine; all scenarios at once may keep the operator or Traefik waiting."""
SHARE = 0.2
SLOWLY = {"scaling": {"minReplicas": 2}, "rollout": {"steps": [{"weight": 20, "hold": "120s"}]}}


@scenario(seconds=180)
async def test_lost_pods(place: Place) -> None:
    """One of stable's pods is deleted, and the candidate's only one; then all of stable's; then the candidate's next one crashes.

    While stable has none, its share is lost with it, and the candidate keeps its own: the weight is no remedy, and the candidate not to blame.
    Without a pod of its own the candidate loses its traffic at once each time: after a deletion the step is tried again with the next pod; after a crash
    the version is rejected. Traefik keeps a pod on its way out in the candidate's list and sends it nothing, so that the candidate's share gets 503
    instead of falling back to stable: what is lost is that share, for as long as the operator needs to set the weight to 0.
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
        without_stable = await lose_stable(place, md.status.stable.revision)
        crashed = place.time
        await processes.kill(place.pods[again])
        ended = place.time
        place.say(f"killed {place.pods[again]['metadata']['name']}")
        md = await place.until_rolled_back("v2")
    elsewhere = [each for each in place.answers.failures if not without_stable[0] <= each[0] <= without_stable[1]]
    lost = len(elsewhere)
    place.say(
        f"{lost} requests of the candidate's share lost with its only pod, twice; "
        f"{len(place.answers.failures) - lost} of stable's in the {without_stable[1] - without_stable[0]:.1f} s without a pod of it"
    )
    for at, why in elsewhere:
        assert is_within(at, (deleted, gone)) or is_within(at, (crashed, ended)), (at - ended, why)
    assert lost <= 2 * TAKEN_AWAY_WITHIN_SECONDS * RATE * SHARE
    assert place.weights() == [0, 20, 0, 20, 0]
    assert md.status.rejected[-1].reason == "CandidateCrashed"
    assert "exit code 137" in md.status.rejected[-1].message
    await place.until_event("RolledBack", "its pods crashed")


def is_within(at: float, window: tuple[float, float]) -> bool:
    """Whether a request failed in a window, or so soon after it that nobody could have known."""
    return window[0] <= at <= window[1] + TAKEN_AWAY_WITHIN_SECONDS


async def lose_stable(place: Place, revision: str) -> tuple[float, float]:
    """Delete all of stable's pods, and wait until it answers again; from when to when it did not. Nothing else is done about it."""
    deleted, began = place.time, len(place.moments)
    there = [uid for uid, pod in place.pods_of(revision).items() if not pod["metadata"].get("deletionTimestamp")]
    await delete(place, *there)
    await place.until("stable to be without a pod", lambda md: ready_of_stable(md) == 0, 20)
    await place.until("stable's next pods", lambda md: ready_of_stable(md) == len(there))
    await place.answered_by("v1")
    for moment in place.moments[began:]:
        rollout = moment.deployment.status.rollout
        assert (rollout.phase, rollout.weight) == ("Progressing", 20), rollout.message
        assert not moment.deployment.status.rejected
    return deleted, place.time


def ready_of_stable(md: ModelDeployment) -> int:
    """Ready pods of stable."""
    return md.status.stable.ready_replicas if md.status.stable else 0


async def delete(place: Place, *uids: str) -> None:
    """Delete pods, without waiting for their end."""
    names = [place.pods[uid]["metadata"]["name"] for uid in uids]
    place.say(f"delete {', '.join(names)}")
    await place.kube.kubectl("delete", "pod", "-n", place.namespace, *names, "--wait=false")
