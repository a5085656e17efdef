"""The first version goes straight to stable."""

from __future__ import annotations

import asyncio

from e2e.scenarios import operator_pod
from e2e.scenarios.diagnosis import CHILDREN
from e2e.scenarios.manifest import NAME
from e2e.scenarios.place import Place, is_true
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR

_TRAFFIC_SECONDS = 3.0


@scenario(seconds=90, needs=[OPERATOR])
async def test_first_deployment(place: Place) -> None:
    """No canary, its own children and nothing else, and nothing written to the object but its status."""
    await place.apply("v1", {"scaling": {"minReplicas": 2}})
    await place.kube.kubectl("wait", "--for=condition=Ready", f"mdep/{NAME}", "-n", place.namespace, "--timeout=60s")
    async with place.traffic():
        await place.answered_by("v1")
        md = await place.until_stable("v1", 1)
        await place.until("both pods", lambda md: md.status.stable is not None and md.status.stable.ready_replicas == 2)
        await asyncio.sleep(_TRAFFIC_SECONDS)
    place.answers.must_have_lost_nothing()
    assert place.answers.count("v1") == place.answers.requests

    assert place.phases() == ["Initializing", "Stable"]
    assert place.weights() == [0]
    assert all(moment.deployment.status.candidate is None for moment in place.moments)
    await place.until_event("Serving", "v1")
    assert is_true(md, "Available")
    assert md.status.url == f"http://{place.target.host}/"
    assert md.status.stable is not None
    revision = md.status.stable.revision

    owned = {
        (child["kind"], child["metadata"]["name"])
        for child in await place.objects(CHILDREN)
        if any(owner["uid"] == md.metadata.uid for owner in child["metadata"].get("ownerReferences", []))
    }
    assert owned == {
        ("Deployment", f"{NAME}-{revision}"),
        ("ControllerRevision", f"{NAME}-{revision}"),
        ("PodDisruptionBudget", f"{NAME}-{revision}"),
        ("ServiceAccount", NAME),
        ("Service", NAME),
        ("Service", f"{NAME}-candidate"),
        ("Ingress", NAME),
        ("Ingress", f"{NAME}-candidate"),
    }
    live = await place.one("modeldeployment", NAME)
    assert live is not None
    assert "finalizers" not in live["metadata"]
    assert set(live["metadata"]["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert live["metadata"]["generation"] == 1
    complaints = await operator_pod.complaints(place, place.namespace)
    assert not complaints, "\n".join(complaints)
