"""SIGKILL to the operator at random instants of a good and of a bad rollout, with traffic on: both end as they must, and no request is lost."""

from __future__ import annotations

import asyncio
import random

from e2e.harness.kube import OPERATOR_NAMESPACE
from e2e.scenarios import operator_pod
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS

_BACK_SECONDS = 60.0
GOOD_KILLS, BAD_KILLS = 3, 1


@scenario(seconds=300, needs=[PROMETHEUS], breaks=[OPERATOR])
async def test_killed_at_random_instants(place: Place) -> None:
    """Four times in all; `make soak` does it fifty times, and more besides."""
    await operator_pod.renew(place)
    await place.first_deployment("v1")
    async with place.traffic():
        generation = await place.apply("v2")
        killing = asyncio.create_task(kill_at_random(place, GOOD_KILLS, within=10))
        md = await place.until_stable("v2", generation, seconds=120)
        await killing
        assert place.weights() == [0, 20, 50, 100, 0]
        assert not md.status.rejected
        await place.apply("v4-broken")
        killing = asyncio.create_task(kill_at_random(place, BAD_KILLS, within=15))
        md = await place.until_rolled_back("v4-broken", seconds=90)
        await killing
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert place.weights() == [0, 20, 50, 100, 0, 20, 0]
    assert [entry.outcome for entry in md.status.history] == ["Promoted", "Promoted", "RolledBack"]
    assert [entry.reason for entry in md.status.rejected] == ["CheckFailed"]
    assert len(place.pods) == 3, "an operator that comes back makes no pod twice"


async def kill_at_random(place: Place, kills: int, within: float) -> None:
    """Kill it at any instant of the next seconds, and again when it is back, or still on its way to its first pass."""
    for number in range(1, kills + 1):
        await asyncio.sleep(random.uniform(0, within))
        before = await operator_pod.pod(place)
        killed = await operator_pod.kill(place)
        began = place.time
        rollout = place.now.status.rollout
        place.say(f"operator killed, {number} of {kills}, in {rollout.phase} at weight {rollout.weight} %")
        if operator_pod.container(before)["restartCount"]:
            # The kubelet would let it wait.
            name = before["metadata"]["name"]
            await place.kube.kubectl("delete", "pod", "-n", OPERATOR_NAMESPACE, name, "--wait=true")
        await operator_pod.until_back(place, killed, _BACK_SECONDS)
        place.say(f"operator back after {place.time - began:.1f} s")
