"""Tools that apply the same manifest again and again: nobody is in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from e2e.scenarios import manifest
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place, condition, is_true
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import PROMETHEUS

TOOL = "argocd-controller"
EVERY_SECONDS = 2.0
_QUIET_SECONDS = 4.0
ONE_STEP: Manifest = {"rollout": {"steps": [{"weight": 50, "hold": "5s"}]}}


@dataclass
class Sync:
    """A loop that applies a manifest: the number of the object after its first round, and what kubectl answered each time."""

    began: int = 0
    said: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def syncing(place: Place, version: str) -> AsyncIterator[Sync]:
    """Both kinds of apply every 2 s, the first of them before the context begins."""
    synced = Sync()
    asked = manifest.deployment(place.namespace, place.scenario, version, ONE_STEP)
    file = place.file(version, ONE_STEP)

    async def sync() -> None:
        synced.said.append(await place.kube.kubectl("apply", "-f", file))
        number = await place.kube.server_side_apply(asked, TOOL)
        synced.began = synced.began or number

    async def loop() -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await sync()

    place.say(f"{version} is applied every {EVERY_SECONDS:g} s")
    await sync()
    task = asyncio.create_task(loop())
    try:
        yield synced
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def meant(body: Manifest) -> Manifest:
    """All of an object that is not the operator's: spec, metadata, and who owns which of their fields."""
    metadata = copy.deepcopy(body["metadata"])
    del metadata["resourceVersion"]
    metadata["managedFields"] = [e for e in metadata["managedFields"] if e.get("subresource") != "status"]
    return {"metadata": metadata, "spec": body["spec"]}


def must_be_quiet(place: Place, synced: Sync) -> None:
    """Every version of the object since the first apply is one of its status alone, and no apply after it had anything to do."""
    assert all("unchanged" in answer for answer in synced.said[1:]), synced.said
    bodies = [m.body for m in place.moments if int(m.body["metadata"]["resourceVersion"]) >= synced.began]
    assert len(bodies) > 1
    for before, body in itertools.pairwise(bodies):
        assert meant(body) == meant(before)
        assert body["status"] != before["status"], "a version of the object that says nothing new"
        own = [e for e in body["metadata"]["managedFields"] if e.get("subresource") == "status"]
        assert all(set(entry["fieldsV1"]) == {"f:status"} for entry in own)


@scenario(seconds=200, needs=[PROMETHEUS])
async def test_gitops(place: Place) -> None:
    """A bad version, then a good one, each applied every 2 s: two undisturbed rollouts, and the bad one stays rejected, with its reason."""
    await place.first_deployment("v1", ONE_STEP)
    async with place.traffic():
        async with syncing(place, "v4-broken") as synced:
            md = await place.until_rolled_back("v4-broken")
            reason = md.status.rejected[-1].message
            pods = set(place.pods)
            at_rest = len(place.moments)
            await asyncio.sleep(_QUIET_SECONDS)
            must_be_quiet(place, synced)
        assert len(place.moments) == at_rest, "applied again, it is no news to anybody"
        assert set(place.pods) == pods

        async with syncing(place, "v2") as synced:
            md = await place.until_stable("v2", place.now.metadata.generation, seconds=75)
            must_be_quiet(place, synced)
        assert len(synced.said) > 5, "it was applied again and again while the rollout went on"

        pods = set(place.pods)
        async with syncing(place, "v4-broken"):
            md = await place.until("the bad one to be refused again", lambda md: is_true(md, "Stalled"))
            await asyncio.sleep(_QUIET_SECONDS)
        stalled = condition(md, "Stalled")
        assert stalled is not None
        assert stalled.reason == "RolledBack"
        assert reason in stalled.message
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert place.weights() == [0, 50, 0, 50, 100, 0]
    assert set(place.pods) == pods, "no pod is made for it"
    assert place.now.status.stable is not None
    assert [each["metadata"]["name"] for each in await place.objects("deployments")] == [
        f"{NAME}-{place.now.status.stable.revision}"
    ]
