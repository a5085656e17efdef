"""BlueGreen and Recreate, where a canary is not what fits."""

from __future__ import annotations

from dataclasses import replace

from e2e.scenarios.cli import USER, haldane
from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place, is_true
from e2e.scenarios.record import by_the_loop, recording
from e2e.scenarios.scenario import scenario
from e2e.scenarios.traffic import Answers, sending
from examples.dataset import BRIGHTEST, Rows, holdout_rows
from haldane.api.v1alpha1 import ModelDeployment

HEADER = "X-Preview"
BLUE_GREEN: Manifest = {
    "scaling": {"minReplicas": 2},
    "traffic": {"ingress": {"previewHeader": HEADER}},
    "rollout": {
        "strategy": "BlueGreen",
        "steps": [{"weight": 0, "hold": "4s"}],
        "analysis": {"minRequests": 10},
        "keepStableFor": "40s",
        "watchAfterPromotion": "40s",
    },
}
RECREATE: Manifest = {"rollout": {"strategy": "Recreate", "steps": None}}
_GAP_RATE = 10.0
# Until a proxy sends requests to a pod that has become ready, and until the operator sees it.
_SEEN_SECONDS = 2.0
# A request that was sent before the switch may still be waiting for its server when it comes.
_UNDER_WAY_SECONDS = 1.0


def harmless_rows() -> Rows:
    """The few rows that v4-broken can answer."""
    rows = holdout_rows()
    dim = rows.pixels.max(axis=1) < BRIGHTEST
    return Rows(rows.pixels[dim], rows.labels[dim])


def must_be_seen_by_header_first(place: Place, preview: Answers, version: str) -> None:
    """Before the last switch only those saw a version who sent the header."""
    switched = next(
        moment.deployment.status.rollout.weight_changed_at
        for moment in place.moments
        if moment.deployment.status.rollout.weight == 100 and candidate(moment.deployment) == version
    )
    assert switched is not None
    at = by_the_loop(place, switched)
    first, last = place.answers.first_sent_at[version], place.answers.last_sent_at[version]
    place.say(
        f"{version}: header {at - preview.first_sent_at[version]:.1f} s before the switch, all for {last - first:.1f} s"
    )
    assert preview.first_sent_at[version] < at - 1
    assert first >= at - _UNDER_WAY_SECONDS


def candidate(md: ModelDeployment) -> str | None:
    """The candidate's version."""
    return md.status.candidate.version if md.status.candidate else None


@scenario(seconds=180)
async def test_blue_green(place: Place) -> None:
    """Who sends the header sees the candidate before everybody else does; then one switch, and back by one switch, to pods that were kept."""
    await place.first_deployment("v1", BLUE_GREEN)
    kept = set(place.pods)
    preview, previewing = Answers(), replace(place.target, headers={HEADER: "always"})
    async with place.traffic(), recording(place, "ingresses") as record:
        # Those who look at it ask nothing that it cannot answer; everybody else does, after the switch.
        async with sending(previewing, preview, rate=20, rows=harmless_rows()):
            await place.apply("v4-broken", BLUE_GREEN)
            md = await place.until("the look", lambda md: md.status.rollout.phase == "Progressing")
            assert md.status.candidate is not None
            assert md.status.candidate.ready_replicas == 2
            await place.until_event("Previewed", f"requests with {HEADER}: always reach it")
            md = await place.until_rolled_back("v4-broken")
        assert md.status.rejected[-1].reason == "CheckFailed"
        must_be_seen_by_header_first(place, preview, "v4-broken")

        async with sending(previewing, preview, rate=20):
            await place.apply("v2", BLUE_GREEN)
            await place.until("the watch", lambda md: md.status.rollout.phase == "Watching")
        must_be_seen_by_header_first(place, preview, "v2")
        await haldane(place, "abort")
        asked = place.time
        md = await place.until_rolled_back("v2")
        assert place.answers.last_sent_at["v2"] - asked <= _SEEN_SECONDS
        await place.until_event("Aborted", f"Version v2: aborted by {USER}")
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert preview.lost(own=["v4-broken"]) == 0, preview.failures
    assert record.weights() == place.weights() == [0, 100, 0, 100, 0]
    assert md.status.stable is not None
    assert set(place.pods_of(md.status.stable.revision)) == kept, "the same pods as at the beginning serve again"


def must_be_lost_within(place: Place, began: float, served: float, known: int = 0) -> None:
    """Requests fail in the gap that the strategy has, and at no other time; the first `known` failures are of an earlier one."""
    outside = [
        (at - began, what) for at, what in place.answers.failures[known:] if not began <= at <= served + _SEEN_SECONDS
    ]
    assert not outside, (served - began, outside)


@scenario(seconds=180)
async def test_recreate(place: Place) -> None:
    """The old pod has ended before the new one is made, and requests are lost only in between; what cannot be loaded goes back the same way."""
    generation = await place.first_deployment("v1", RECREATE)
    (first,) = place.pods
    async with place.traffic(rate=_GAP_RATE):
        began = place.time
        generation = await place.apply("v2", RECREATE)
        await place.until("the gap to be told", lambda md: not is_true(md, "Available"))
        md = await place.until("v2 to serve", lambda md: is_true(md, "Available"))
        served = place.time
        assert md.status.stable is not None
        assert md.status.stable.version == "v2"
        (second,) = place.pods_of(md.status.stable.revision)
        assert first not in place.met[second]
        md = await place.until_stable("v2", generation)
        must_be_lost_within(place, began, served)
        place.say(f"nobody answered for {served - began:.1f} s: {len(place.answers.failures)} requests")

        lost = len(place.answers.failures)
        began = place.time
        await place.apply("v2", {**RECREATE, "model": {"uri": "s3://models/digits/v9/model.onnx", "version": "v9"}})
        md = await place.until_rolled_back("v9")
        await place.until("v2 to serve again", lambda md: is_true(md, "Available"))
        served = place.time
        await place.answered_by("v2")
    must_be_lost_within(place, began, served, lost)
    assert "s3://models/digits/v9/model.onnx does not exist" in md.status.rejected[-1].message, "not its deadline"
    for pod, met in place.met.items():
        assert not met, f"{pod} was made beside {met}"
    assert place.weights() == [0]
