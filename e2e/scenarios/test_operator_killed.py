"""The operator goes away in the middle of a rollout, by SIGKILL or for a new version of itself: the rollout continues where it was."""

from __future__ import annotations

from e2e.harness.command import output
from e2e.harness.install import RUNTIME_IMAGE, install
from e2e.scenarios import operator_pod
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.stage import CHART
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS

_BACK_SECONDS = 60.0
NEXT_IMAGE = "haldane/runtime:next"


@scenario(seconds=240, needs=[PROMETHEUS], breaks=[OPERATOR])
async def test_operator_killed(place: Place) -> None:
    """Killed at 20 %, upgraded at 50 %, killed when stable has just been moved: the same pods, the same weights, the same end.

    The upgrade brings another image for the pods of new revisions: those there are keep theirs, and the rest of the candidate's get the same.
    """
    two = {
        "scaling": {"minReplicas": 2},
        "rollout": {"steps": [{"weight": 20, "hold": "2s"}, {"weight": 60, "hold": "2s"}]},
    }
    await operator_pod.renew(place)
    await place.first_deployment("v1", two)
    try:
        async with place.traffic():
            generation = await place.apply("v2", two)
            await place.until_weight(20)
            await kill(place)
            await place.until("the next step", lambda md: md.status.rollout.step == 1)
            await tag_next_image(place)
            began = place.time
            await install(place.addresses, CHART, NEXT_IMAGE)
            place.say(f"operator upgraded after {place.time - began:.1f} s")
            await place.until(
                "the hand-over",
                lambda md: md.status.stable is not None and md.status.stable.version == "v2",
                seconds=90,
            )
            await kill(place)
            md = await place.until_stable("v2", generation, seconds=90)
    finally:
        await install(place.addresses, CHART)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 60, 100, 0]
    assert not md.status.rejected
    assert md.status.stable is not None
    pods = place.pods_of(md.status.stable.revision)
    assert len(pods) == 2, "an operator that comes back makes no pod twice"
    assert not any(pod["metadata"].get("deletionTimestamp") for pod in pods.values())
    assert len(place.pods) == 4, "nor one of the version before"
    assert {pod["spec"]["containers"][0]["image"] for pod in place.pods.values()} == {RUNTIME_IMAGE}
    assert all(state["restartCount"] == 0 for pod in pods.values() for state in pod["status"]["containerStatuses"])


async def tag_next_image(place: Place) -> None:
    """Have the runtime's image on the node under another name as well."""
    node = next(iter(place.pods.values()))["spec"]["nodeName"]
    names = [f"docker.io/{image}" for image in (RUNTIME_IMAGE, NEXT_IMAGE)]
    tag = ["ctr", "--namespace", "k8s.io", "image", "tag", "--force", *names]
    await output(["docker", "exec", node, *tag], seconds=15)


async def kill(place: Place) -> None:
    """Kill it, and wait until another one works."""
    killed = await operator_pod.kill(place)
    began = place.time
    place.say("operator killed")
    await operator_pod.until_back(place, killed, _BACK_SECONDS)
    place.say(f"operator back after {place.time - began:.1f} s")
