"""Deleted in the middle of a rollout, a ModelDeployment leaves nothing behind."""

from __future__ import annotations

import asyncio

from e2e.scenarios.diagnosis import CHILDREN
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, condition
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR

_GONE_SECONDS = 60.0
_QUIET_SECONDS = 3.0
_TRAFFIC_SECONDS = 3.0


@scenario(seconds=120, needs=[OPERATOR])
async def test_removal(place: Place) -> None:
    """The first version cannot be loaded, the next one is stable at once; then all is deleted: every child is garbage-collected, and none comes back."""
    await place.apply("v1", {"model": {"uri": "s3://models/digits/v9/model.onnx", "version": "v9"}})
    await place.until("a cause", lambda md: (r := condition(md, "Ready")) is not None and "ModelNotFound" in r.message)
    await place.first_deployment("v1")
    assert place.weights() == [0], "what never served gets no canary beside it"
    async with place.traffic():
        await place.apply("v2")
        await place.until_weight(20)
        await asyncio.sleep(_TRAFFIC_SECONDS)
    place.answers.must_have_lost_nothing()
    await place.kube.kubectl("delete", "mdep", NAME, "-n", place.namespace, "--timeout=20s")

    async def nothing_left() -> bool:
        return not await left(place)

    try:
        await place.until_seen("all children to be gone", nothing_left, _GONE_SECONDS)
    finally:
        assert not await left(place)
    await asyncio.sleep(_QUIET_SECONDS)
    assert not await left(place)


async def left(place: Place) -> list[str]:
    """What there is beside the default of every namespace."""
    found: list[Manifest] = await place.objects(CHILDREN)
    names = [f"{each['kind']}/{each['metadata']['name']}" for each in found]
    return [name for name in names if name != "ServiceAccount/default"]
