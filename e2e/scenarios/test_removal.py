"""Deleted in the middle of a rollout, a ModelDeployment leaves nothing behind."""

from __future__ import annotations

import asyncio

from e2e.scenarios.diagnosis import CHILDREN
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR

_GONE_SECONDS = 60.0
_QUIET_SECONDS = 3.0


@scenario(seconds=120, needs=[OPERATOR])
async def test_removal(place: Place) -> None:
    """Every child is garbage-collected, and none comes back."""
    await place.first_deployment("v1")
    await place.apply("v2")
    await place.until_weight(20)
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
