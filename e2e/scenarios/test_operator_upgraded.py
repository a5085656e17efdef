"""A new version of the operator in the middle of a rollout: no model pod is restarted, and the rollout continues where it was."""

from __future__ import annotations

from e2e.harness.command import output
from e2e.harness.install import RUNTIME_IMAGE, install
from e2e.scenarios import operator_pod
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.stage import CHART
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS

NEXT_IMAGE = "haldane/runtime:next"


@scenario(seconds=200, needs=[PROMETHEUS], breaks=[OPERATOR])
async def test_operator_upgraded(place: Place) -> None:
    """The new one brings another image for the pods of new revisions: those there are keep theirs, and the rest of the candidate's get the same."""
    two = {"scaling": {"minReplicas": 2}, "rollout": {"steps": [{"weight": 20, "hold": "5s"}]}}
    await place.first_deployment("v1", two)
    before = (await operator_pod.pod(place))["metadata"]["uid"]
    async with place.traffic():
        generation = await place.apply("v2", two)
        await place.until_weight(20)
        try:
            await tag_next_image(place)
            began = place.time
            await install(place.addresses, CHART, NEXT_IMAGE)
            place.say(f"operator upgraded after {place.time - began:.1f} s")
            assert (await operator_pod.pod(place))["metadata"]["uid"] != before
            await place.until("the watch", lambda md: md.status.rollout.phase == "Watching")
        finally:
            await install(place.addresses, CHART)
        md = await place.until_stable("v2", generation)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 100, 0]
    assert not md.status.rejected
    assert md.status.stable is not None
    pods = place.pods_of(md.status.stable.revision)
    assert len(pods) == 2, "an operator that comes back makes no pod twice"
    assert len(place.pods) == 4, "nor one of the version before"
    assert not any(pod["metadata"].get("deletionTimestamp") for pod in pods.values())
    states = [state for pod in place.pods.values() for state in pod["status"]["containerStatuses"]]
    assert {state["restartCount"] for state in states} == {0}
    assert {pod["spec"]["containers"][0]["image"] for pod in place.pods.values()} == {RUNTIME_IMAGE}


async def tag_next_image(place: Place) -> None:
    """Have the runtime's image on the node under another name as well."""
    node = next(iter(place.pods.values()))["spec"]["nodeName"]
    names = [f"docker.io/{image}" for image in (RUNTIME_IMAGE, NEXT_IMAGE)]
    tag = ["ctr", "--namespace", "k8s.io", "image", "tag", "--force", *names]
    await output(["docker", "exec", node, *tag], seconds=15)
