"""A good candidate takes over, with its own pods, and nobody notices."""

from __future__ import annotations

from e2e.scenarios import operator_pod
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, condition, is_true
from e2e.scenarios.scenario import scenario


def serving(pods: dict[str, Manifest]) -> set[str]:
    """The uids of the pods that are not on their way out."""
    return {uid for uid, pod in pods.items() if not pod["metadata"].get("deletionTimestamp")}


@scenario(seconds=150)
async def test_promotion(place: Place) -> None:
    """Weights rise step by step; at the end the candidate's pods are stable's, and no model was loaded twice."""
    two = {"scaling": {"minReplicas": 2}}
    await place.first_deployment("v1", two)
    async with place.traffic():
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

        await place.until_weight(100, seconds=60)
        full_pods = serving(place.pods_of(candidate))
        await place.kube.kubectl(
            "wait", "--for=condition=Ready", f"mdep/{NAME}", "-n", place.namespace, "--timeout=60s", seconds=70
        )
        md = await place.until_stable("v2", generation)
    place.answers.must_have_lost_nothing()
    assert place.answers.count("v2") > 0

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
