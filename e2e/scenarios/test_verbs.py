"""What people ask of a rollout, with Haldane's own command line; each is done once, at once, and told with who asked."""

from __future__ import annotations

import asyncio

from e2e.scenarios.cli import USER, haldane
from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place, condition, is_true
from e2e.scenarios.scenario import scenario

AT_ONCE_SECONDS = 2.0
_HELD_SECONDS = 3.0
PATIENT: Manifest = {
    "rollout": {"steps": [{"weight": 20, "hold": "2s", "approval": True}, {"weight": 50, "hold": "60s"}]}
}


async def until_suspended(place: Place, reason: str) -> None:
    """Until the condition Suspended is True for this reason; all that a person is told is then shown."""
    await place.until(
        f"the rollout to be suspended: {reason}",
        lambda md: (told := condition(md, "Suspended")) is not None and told.reason == reason,
    )
    place.say(await haldane(place, "status", plugin=True))


@scenario(seconds=180)
async def test_verbs(place: Place) -> None:
    """Pause, resume, approve, abort, retry, promote: one version's way through all of them."""
    await place.first_deployment("v1", PATIENT)
    async with place.traffic():
        await haldane(place, "pause", "--reason", "INC-12")
        await until_suspended(place, "Paused")
        generation = await place.apply("v2", PATIENT)
        await place.until("v2 to be held", lambda md: "not rolled out" in md.status.rollout.message)
        assert place.now.status.candidate is None
        await place.until_event("Paused", f"by {USER} (INC-12)")
        await haldane(place, "resume", plugin=True)
        await place.until_event("Resumed", f"Resumed by {USER}")

        await until_suspended(place, "WaitingForApproval")
        assert place.now.status.rollout.weight == 20
        await haldane(place, "pause")
        await until_suspended(place, "Paused")
        await haldane(place, "approve", plugin=True)
        await place.until_event("Approved", f"Step 1 (weight 20%) of version v2 is approved by {USER}")
        await asyncio.sleep(_HELD_SECONDS)
        assert place.now.status.rollout.weight == 20, "approved, and still paused"
        await haldane(place, "resume")
        await place.until_weight(50)
        assert not any(each.type == "Suspended" for each in place.now.status.conditions)

        await haldane(place, "abort")
        asked = place.time
        await place.until_weight(0, AT_ONCE_SECONDS)
        md = await place.until_rolled_back("v2")
        assert place.answers.last_sent_at["v2"] - asked <= AT_ONCE_SECONDS
        await place.until_event("Aborted", f"Version v2: aborted by {USER}")
        assert (md.status.rejected[-1].reason, md.status.history[-1].outcome) == ("Aborted", "Aborted")
        assert is_true(md, "Stalled")

        await haldane(place, "retry")
        await place.until_weight(20)
        await place.until_event("Retried", f"as asked by {USER}")
        await haldane(place, "promote")
        md = await place.until_stable("v2", generation)
        await place.until_event("PromotedNow", f"promoted by {USER} at weight 20%")

        await haldane(place, "retry", plugin=True)
        await place.until_event("NothingToRetry", f"by {USER}: version v2 is not among the rejected")
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 20, 50, 0, 20, 100, 0]
    assert not md.status.rejected
    assert f"promoted by {USER}" in (md.status.history[-1].message or "")
    assert md.metadata.generation == generation, "verbs are no change of spec"
