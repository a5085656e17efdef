"""A good candidate takes over, with its own pods, and nobody notices at 200 requests a second."""

from __future__ import annotations

from functools import partial

from e2e.scenarios import operator_pod
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import RATE, Place, condition, is_true
from e2e.scenarios.record import Record, recording
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS, QUIET
from haldane.plan.transitions import ROUTE_SETTLE

HANDOVER_RATE = 220.0
LEAST_RATE = 150.0
"""Requests/s that must have been answered: two cores carry the cluster, the models and the client."""
HANDED_OVER = ("ingresses", "services", "endpointslices", "deployments")


async def ended(record: Record) -> bool:
    """Whether a Deployment went."""
    return any((write.kind, write.what) == ("deployments", "DELETED") for write in record.writes)


def serving(pods: dict[str, Manifest]) -> set[str]:
    """The uids of the pods that are not on their way out."""
    return {uid for uid, pod in pods.items() if not pod["metadata"].get("deletionTimestamp")}


def must_be_handed_over_in_order(place: Place, record: Record, before: str, candidate: str, pods: set[str]) -> None:
    """Weight 100, Service, endpoints, weight 0, old pods: each only when the one before had time to act everywhere."""
    full = record.weight(100)
    moved = record.selected(candidate, after=full.number)
    led = record.endpoints(pods, after=moved.number)
    idle = record.weight(0, after=led.number)
    gone = record.deleted(f"{NAME}-{before}")
    steps = {"Service": moved, "endpoints": led, "weight 0 %": idle, "old Deployment gone": gone}
    place.say("after weight 100 %: " + ", ".join(f"{name} {w.at - full.at:.2f} s" for name, w in steps.items()))
    assert full.number < moved.number < led.number < idle.number < gone.number
    # As the operator decided them: what is seen here may be late.
    course = [moment.deployment.status for moment in place.moments]
    full_at = [s.rollout.weight_changed_at for s in course if s.rollout.weight == 100 and s.candidate][-1]
    moved_at = [s.rollout.weight_changed_at for s in course if s.rollout.weight == 100 and s.previous][-1]
    idle_at = next(s.rollout.weight_changed_at for s in course if s.rollout.phase == "Watching")
    assert full_at is not None
    assert moved_at is not None
    assert idle_at is not None
    assert moved_at - full_at >= ROUTE_SETTLE
    assert idle_at - moved_at >= ROUTE_SETTLE


@scenario(seconds=150, needs=[OPERATOR, PROMETHEUS], breaks=[QUIET])
async def test_promotion(place: Place) -> None:
    """Weights rise step by step; at the end the candidate's pods are stable's, and no model was loaded twice."""
    two = {"scaling": {"minReplicas": 2}}
    await place.first_deployment("v1", two)
    assert place.now.status.stable is not None
    before = place.now.status.stable.revision
    async with place.traffic(), recording(place, *HANDED_OVER) as record:
        generation = await place.apply("v2", two)
        md = await place.until_weight(20)
        assert md.status.candidate is not None
        candidate = md.status.candidate.revision
        first_pods = serving(place.pods_of(candidate))
        told = condition(md, "Ready")
        assert told is not None
        assert told.status == "False"
        assert is_true(md, "Available")
        assert is_true(md, "Reconciling")
        table = await place.kube.kubectl("get", "mdep", "-n", place.namespace)
        heads, row = (line.split() for line in table.splitlines())
        assert heads == ["NAME", "VERSION", "PHASE", "WEIGHT", "READY", "CANDIDATE", "AGE"]
        assert row[:6] == [NAME, "v1", "Progressing", "20", "False", "v2"]

        await place.until_weight(50)
        sent, since = place.answers.requests, place.time
        async with place.traffic(HANDOVER_RATE - RATE, made_up_for=0.5):
            await place.until_weight(100, seconds=60)
            full_pods = serving(place.pods_of(candidate))
            await place.kube.kubectl(
                "wait", "--for=condition=Ready", f"mdep/{NAME}", "-n", place.namespace, "--timeout=60s", seconds=70
            )
            md = await place.until_stable("v2", generation)
            await place.until_seen("the end of the old Deployment", partial(ended, record), seconds=15)
            rate = (place.answers.requests - sent) / (place.time - since)
    place.answers.must_have_lost_nothing()
    place.say(f"{rate:.0f} requests/s from weight 50 % to the end, none failed")
    assert rate >= LEAST_RATE
    must_be_handed_over_in_order(place, record, before, candidate, full_pods)

    assert place.weights() == [0, 20, 50, 100, 0]
    assert place.phases() == [
        "Initializing",
        "Stable",
        "Preparing",
        "Progressing",
        "Promoting",
        "Watching",
        "Stable",
    ]
    assert md.status.stable is not None
    assert md.status.stable.revision == candidate
    assert len(first_pods) == 1, "a fifth of the traffic of two pods needs one"
    assert len(full_pods) == 2
    ever = place.pods_of(candidate)
    assert first_pods <= full_pods == set(ever) == serving(ever), "promotion makes no pod and takes none"
    assert all(state["restartCount"] == 0 for pod in ever.values() for state in pod["status"]["containerStatuses"])
    left = await place.objects("deployments")
    assert [each["metadata"]["name"] for each in left] == [f"{NAME}-{candidate}"]
    assert [entry.outcome for entry in md.status.history] == ["Promoted", "Promoted"]
    await place.until_event("RolloutStarted", "v2")
    await place.until_event("Promoted", "v2")
    table = await place.kube.kubectl("get", "mdep", "-n", place.namespace)
    assert table.splitlines()[1].split()[:5] == [NAME, "v2", "Stable", "0", "True"]
    complaints = await operator_pod.complaints(place, place.namespace)
    assert not complaints, "\n".join(complaints)
