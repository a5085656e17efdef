"""A bad candidate is taken back; stable never notices."""

from __future__ import annotations

import asyncio

from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Moment, Place, condition, is_true
from e2e.scenarios.record import Record, Write, by_the_loop, recording
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import PROMETHEUS
from haldane.api.v1alpha1 import ModelDeployment

WITHIN_SECONDS = 10.0
"""Under 2 s when the machine has nothing else to do; it is told each time. All scenarios at once may keep a process waiting longer."""
_QUIET_SECONDS = 4.0


async def must_be_rejected(place: Place, md: ModelDeployment, version: str, check: str) -> None:
    """The reason stands in status and in an Event, and what serves goes on serving."""
    rejected = md.status.rejected[-1]
    assert rejected.version == version
    assert rejected.reason == "CheckFailed"
    assert rejected.message.startswith(f"check {check} failed")
    ready, stalled = condition(md, "Ready"), condition(md, "Stalled")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "RolledBack")
    assert check in ready.message
    assert stalled is not None
    assert stalled.status == "True"
    assert is_true(md, "Available")
    assert md.status.stable is not None
    assert md.status.stable.version == "v1"
    assert md.status.history[-1].outcome == "RolledBack"
    await place.until_event("RolledBack", f"check {check} failed")


async def must_not_be_tried_again(place: Place, revision: str) -> None:
    """Neither time nor an edit that makes no new revision brings a rejected revision back."""
    began = len(place.moments)
    changed = {"metadata": {"annotations": {"example.com/touched": "yes"}}, "spec": {"scaling": {"minReplicas": 2}}}
    await place.patch(changed)
    await place.until(
        "two stable pods", lambda md: md.status.stable is not None and md.status.stable.ready_replicas == 2
    )
    await asyncio.sleep(_QUIET_SECONDS)
    assert all(moment.deployment.status.candidate is None for moment in place.moments[began:])
    deployments = [each["metadata"]["name"] for each in await place.objects("deployments")]
    assert f"{NAME}-{revision}" not in deployments


def must_be_off_the_route_at_once(place: Place, record: Record, version: str) -> None:
    """From the look at the metrics that gave the verdict to weight 0 in the route, and to the last request that a client sent there."""
    judged = next(
        moment
        for moment in place.moments
        if any(check.verdict == "Fail" for check in moment.deployment.status.rollout.checks)
    )
    must_follow_at_once(
        place, judged, "weight 0 in the route", record.weight(0, after=record.weight(20).number), version
    )


def must_be_back_at_once(place: Place, record: Record, version: str, back: str) -> None:
    """From the look at the metrics that gave the verdict to the stable Service that leads to revision `back` again, and to the last request that `version` got."""
    judged = next(moment for moment in place.moments if moment.deployment.status.rejected)
    promoted = next(
        m.deployment.status.stable for m in place.moments if m.deployment.status.rollout.phase == "Watching"
    )
    assert promoted is not None
    service = record.selected(back, after=record.selected(promoted.revision).number)
    must_follow_at_once(place, judged, "the Service is back", service, version)


def must_follow_at_once(place: Place, judged: Moment, what: str, seen: Write, version: str) -> None:
    """What was `seen` and the last request that `version` got, both soon after the look at the metrics whose verdict status told when `judged`."""
    looked = judged.deployment.status.rollout.checked_at
    assert looked is not None
    looked_at = by_the_loop(place, looked)
    last = place.answers.last_sent_at[version]
    place.say(
        f"{what} {seen.at - looked_at:.2f} s after the look that gave Fail ({seen.at - judged.at:.2f} s after status said it); "
        f"last request to {version} {last - looked_at:.2f} s after the look"
    )
    assert seen.at - looked_at <= WITHIN_SECONDS
    assert last - looked_at <= WITHIN_SECONDS


@scenario(seconds=180)
async def test_rollback_on_errors(place: Place) -> None:
    """Good, bad, bad, good: what fails on real rows is off the route at once and not tried again by itself, nor when it is asked for again."""
    one_step: Manifest = {"rollout": {"steps": [{"weight": 20, "hold": "5s"}]}}
    await place.first_deployment("v1", one_step)
    async with place.traffic(), recording(place, "ingresses") as record:
        await place.apply("v4-broken", one_step)
        await place.until_weight(20)
        began = place.time
        md = await place.until_rolled_back("v4-broken", seconds=45)
        must_be_off_the_route_at_once(place, record, "v4-broken")
        await must_be_rejected(place, md, "v4-broken", "errors")
        rejected = md.status.rejected[-1]
        await must_not_be_tried_again(place, rejected.revision)

        # Another bad one, which never gets ready; the good one does not wait for its deadline.
        missing: Manifest = {"model": {"uri": "s3://models/digits/v9/model.onnx", "version": "v9"}}
        await place.apply("v2", {**one_step, **missing})
        await place.until(
            "its cause", lambda md: (r := condition(md, "Ready")) is not None and "ModelNotFound" in r.message
        )
        generation = await place.apply("v2", one_step)
        md = await place.until_stable("v2", generation)

        await place.apply("v4-broken", one_step)
        md = await place.until("the old bad one to be refused", lambda md: is_true(md, "Stalled"), 10)
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert place.answers.count("v4-broken") > 0
    span = place.answers.last_sent_at["v4-broken"] - began
    place.say(f"the broken candidate had traffic for {span:.1f} s")
    assert span <= 15
    assert place.weights() == record.weights() == [0, 20, 0, 20, 100, 0]
    assert md.status.rejected == [rejected]
    ready = condition(md, "Ready")
    assert ready is not None
    assert rejected.message in ready.message
    assert [e.outcome for e in md.status.history] == ["Promoted", "RolledBack", "Superseded", "Promoted"]
    assert len(place.pods_of(rejected.revision)) == 1


@scenario(seconds=120, needs=[PROMETHEUS])
async def test_rollback_on_latency(place: Place) -> None:
    """A model that is too slow is rolled back by its latency quantile."""
    # Two slow answers a second are as much as can be had where a dozen others work on two cores; the latency is all that is judged, since what waits
    # too long for them is an error in the end.
    slow: Manifest = {
        "rollout": {
            "checks": [{"name": "p90", "latency": {"quantile": "0.9", "max": "100ms"}}],
            # Else it would be refused before its first request.
            "smokeLatency": "10s",
            "steps": [{"weight": 10, "hold": "5s"}],
            "analysis": {"window": "20s", "minRequests": 10},
        }
    }
    await place.first_deployment("v1", slow)
    async with place.traffic(rate=20):
        await place.apply("v3-slow", slow)
        md = await place.until_rolled_back("v3-slow", seconds=75)
        await must_be_rejected(place, md, "v3-slow", "p90")
    place.answers.must_have_lost_nothing(own=["v3-slow"])
    assert place.answers.count("v3-slow") > 0
    assert place.weights() == [0, 10, 0]


@scenario(seconds=150)
async def test_rollback_after_promotion(place: Place) -> None:
    """A check that fails while the promoted version is watched: the version before takes over again at once, with the pods that it kept."""
    query = 'count(haldane_model_info{model_namespace="{{namespace}}",revision="{{revision}}"})'
    watched: Manifest = {
        "rollout": {
            "steps": [{"weight": 50, "hold": "5s"}],
            "checks": [{"name": "pods", "query": {"promql": query, "max": "1"}}],
            "analysis": {"failureLimit": 2},
            "keepStableFor": "70s",
            "watchAfterPromotion": "70s",
        }
    }
    await place.first_deployment("v1", watched)
    (pod,) = place.pods
    async with place.traffic(), recording(place, "services") as record:
        await place.apply("v2", watched)
        await place.until("the watch", lambda md: md.status.rollout.phase == "Watching", seconds=75)
        await place.patch({"spec": {"scaling": {"minReplicas": 2}}})
        md = await place.until_rolled_back("v2", seconds=70)
        await must_be_rejected(place, md, "v2", "pods")
        await place.answered_by("v1")
    place.answers.must_have_lost_nothing()
    assert md.status.stable is not None
    must_be_back_at_once(place, record, "v2", md.status.stable.revision)
    kept = place.pods_of(md.status.stable.revision)[pod]
    assert not kept["metadata"].get("deletionTimestamp"), "the pod that was kept serves again"
    assert place.weights() == [0, 50, 100, 0]
