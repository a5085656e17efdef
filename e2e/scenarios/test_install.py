"""The chart is up, and quiet."""

from __future__ import annotations

import pytest

from e2e.harness.errors import HarnessError
from e2e.scenarios import operator_pod
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR


@scenario(seconds=60, needs=[OPERATOR])
async def test_install(place: Place) -> None:
    """The CRD is established, the operator's pod is ready, and it has nothing to complain about."""
    await place.kube.kubectl("wait", "--for=condition=Established", "crd/modeldeployments.haldane.dev", "--timeout=10s")
    state = operator_pod.container(await operator_pod.pod(place))
    assert state["ready"], state
    complaints = await operator_pod.complaints(place, place.namespace)
    assert not complaints, "\n".join(complaints)

    explained = await place.kube.kubectl("explain", "modeldeployment.spec.rollout")
    assert "progressDeadline" in explained
    with pytest.raises(HarnessError, match="must rise from step to step"):
        await place.apply("v1", {"rollout": {"steps": [{"weight": 50, "hold": "5s"}, {"weight": 20, "hold": "5s"}]}})
    assert not place.moments
