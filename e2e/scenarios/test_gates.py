"""What stands before the first request: a version that would break its clients, or does not answer as it must, gets none."""

from __future__ import annotations

from e2e.scenarios.made_models import golden, indifferent, put
from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place, condition, is_true
from e2e.scenarios.scenario import scenario

_STEP: Manifest = {
    "rollout": {"steps": [{"weight": 50, "hold": "2s"}], "keepStableFor": "1s", "watchAfterPromotion": "1s"}
}


async def refused(
    place: Place, version: str, model: Manifest, reason: str, *texts: str, step: Manifest = _STEP
) -> None:
    """Ask for a model, and see it turned away with these words."""
    began = place.time
    await place.apply(version, {**step, "model": model})
    md = await place.until_rolled_back(version, seconds=45)
    rejected = md.status.rejected[-1]
    assert (rejected.version, rejected.reason) == (version, reason), rejected
    ready = condition(md, "Ready")
    assert ready is not None
    for text in texts:
        assert text in rejected.message, rejected.message
        assert text in ready.message, ready.message
    assert is_true(md, "Available")
    await place.until_event("RolledBack", texts[0])
    place.say(f"{version} was refused after {place.time - began:.1f} s: {rejected.message}")


@scenario(seconds=240)
async def test_refused_before_any_traffic(place: Place) -> None:
    """Another signature, NaN, golden answers that do not fit (in the spec, and in a file), a hundred times slower: no request reaches them."""
    store = place.addresses.s3_url
    plain = await put(store, f"{place.namespace}/plain", indifferent())
    wide = await put(store, f"{place.namespace}/wide", indifferent(classes=12))
    nan = await put(store, f"{place.namespace}/nan", indifferent(broken=True))
    unlike = await put(store, f"{place.namespace}/unlike", indifferent(), beside=golden(0.25))
    alike = await put(store, f"{place.namespace}/alike", indifferent(), beside=golden(0.1))
    await place.first_deployment("v1", _STEP)
    async with place.traffic():
        other = 'output "probabilities" is FP32 [-1,10] in version v1 and FP32 [-1,12] here'
        await refused(place, "wide", {"uri": wide}, "SignatureChanged", other, "allowSignatureChange")
        bad = 'output "probabilities" holds NaN or Infinity for every request, where stable gives numbers'
        await refused(place, "nan", {"uri": nan}, "BadAnswers", bad)
        inline = ("request 0 of HALDANE_GOLDEN", "output 'probabilities'", "0.1", "0.25")
        await refused(place, "inline", {"uri": plain, "golden": golden(0.25)}, "GoldenMismatch", *inline)
        file = ("request 0 of golden.json", "output 'probabilities'", "0.1", "0.25")
        await refused(place, "file", {"uri": unlike}, "GoldenMismatch", *file)
        assert place.weights() == [0]

        generation = await place.apply("good", {**_STEP, "model": {"uri": alike, "golden": golden(0.1)}})
        md = await place.until("its verdicts", lambda md: len(md.status.rollout.gates) == 3)
        verdicts = {gate.name: gate.verdict for gate in md.status.rollout.gates}
        assert verdicts == {"signature": "Pass", "answers": "Pass", "latency": "Pass"}, md.status.rollout.gates
        await place.until_stable("good", generation)

        slow: Manifest = {"uri": "s3://models/digits/v3-slow/model.onnx"}
        # Ten times as slow as stable is as slow as the way to it, on a busy machine: a limit of its own is sure.
        limit: Manifest = {"rollout": {**_STEP["rollout"], "smokeLatency": "150ms"}}
        await refused(place, "slow", slow, "TooSlow", "requests to an idle pod took", "allows 150ms", step=limit)
    place.answers.must_have_lost_nothing()
    assert place.weights() == [0, 50, 100, 0]
    assert not {"wide", "nan", "inline", "file", "slow"} & set(place.answers.last_sent_at)
