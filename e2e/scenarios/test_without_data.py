"""No data is no proof and no fault: the rollout holds, says why, and goes on when data come."""

from __future__ import annotations

import asyncio

from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place, condition
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS
from haldane.api.v1alpha1 import ModelDeployment

_HELD_SECONDS = 6.0
_WARNED_SECONDS = 20.0
"""A whole window, and the look after it."""
_DIFFERENT_REASONS = 3
"""While a pod goes its connections end in more than one way."""
ONE_STEP: Manifest = {"rollout": {"steps": [{"weight": 20, "hold": "5s"}]}}


async def must_hold(place: Place, weight: int) -> None:
    """For some time nothing moves."""
    began = len(place.moments)
    await asyncio.sleep(_HELD_SECONDS)
    for moment in place.moments[began:]:
        rollout = moment.deployment.status.rollout
        assert (rollout.phase, rollout.weight) == ("Progressing", weight), rollout.message
        assert not moment.deployment.status.rejected


async def must_have_warned(place: Place, reason: str, advice: str) -> None:
    """A Warning says why and what to do; not one for each look."""
    event = await place.until_event("Undecided", reason, _WARNED_SECONDS)
    assert event["type"] == "Warning"
    assert advice in event["message"], event["message"]
    told = [each["message"] for each in await place.events() if each["reason"] == "Undecided"]
    assert len(told) <= _DIFFERENT_REASONS, told


def ready_message(md: ModelDeployment) -> str:
    """What the Ready condition says."""
    found = condition(md, "Ready")
    return found.message if found else ""


@scenario(seconds=150, needs=[PROMETHEUS])
async def test_no_traffic(place: Place) -> None:
    """Without requests the step is held; with requests it goes on to the promotion."""
    await place.first_deployment("v1", ONE_STEP)
    generation = await place.apply("v2", ONE_STEP)
    await place.until("the reason", lambda md: "no requests arrive" in ready_message(md))
    await must_hold(place, 20)
    await must_have_warned(place, "no requests arrive", "Send more requests")
    async with place.traffic():
        await place.until_stable("v2", generation, seconds=75)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 100, 0]


async def scale_prometheus(place: Place, replicas: int) -> None:
    """Take Prometheus away, or bring it back and wait until it answers."""
    place.say(f"scale Prometheus to {replicas}")
    where = ("-n", "monitoring")
    await place.kube.kubectl("scale", "deployment/prometheus", *where, f"--replicas={replicas}")
    if replicas:
        await place.kube.kubectl("rollout", "status", "deployment/prometheus", *where, "--timeout=60s", seconds=70)
    else:
        gone = ("wait", "--for=delete", "pod", "-l", "app=prometheus", *where, "--timeout=60s")
        await place.kube.kubectl(*gone, seconds=70)


@scenario(seconds=180, needs=[OPERATOR], breaks=[PROMETHEUS])
async def test_prometheus_down(place: Place) -> None:
    """An outage of the monitoring alone rolls nothing back and promotes nothing; afterwards the rollout goes on."""
    await place.first_deployment("v1", ONE_STEP)
    async with place.traffic():
        generation = await place.apply("v2", ONE_STEP)
        await place.until_weight(20)
        try:
            await scale_prometheus(place, 0)
            await place.until("the reason", lambda md: "Prometheus gave no answer" in ready_message(md))
            await must_hold(place, 20)
            await must_have_warned(place, "Prometheus gave no answer", "Check that Prometheus runs")
        finally:
            await scale_prometheus(place, 1)
        await place.until_stable("v2", generation, seconds=90)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 100, 0]
