"""SIGKILL to the operator in the middle of a rollout: it continues where it was, and no request is lost."""

from __future__ import annotations

from e2e.scenarios import operator_pod
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS

_BACK_SECONDS = 60.0


@scenario(seconds=200, needs=[PROMETHEUS], breaks=[OPERATOR])
async def test_operator_killed(place: Place) -> None:
    """Killed while the weight is 20 %, and again when stable has just been moved: the same pods, the same weights, the same end."""
    two = {"scaling": {"minReplicas": 2}}
    await operator_pod.renew(place)
    await place.first_deployment("v1", two)
    async with place.traffic():
        generation = await place.apply("v2", two)
        await place.until_weight(20)
        await kill(place)
        await place.until(
            "the hand-over",
            lambda md: md.status.stable is not None and md.status.stable.version == "v2",
            seconds=90,
        )
        await kill(place)
        md = await place.until_stable("v2", generation, seconds=90)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 50, 100, 0]
    assert not md.status.rejected
    assert md.status.stable is not None
    pods = place.pods_of(md.status.stable.revision)
    assert len(pods) == 2, "a killed operator makes no pod twice"
    assert not any(pod["metadata"].get("deletionTimestamp") for pod in pods.values())


async def kill(place: Place) -> None:
    """Kill it, and wait until another one works."""
    killed = await operator_pod.kill(place)
    began = place.time
    place.say("operator killed")
    await operator_pod.until_back(place, killed, _BACK_SECONDS)
    place.say(f"operator back after {place.time - began:.1f} s")
