"""Asking runtimes beside the passes: what is asked in which order, how often, and what a runtime that is slow or mute costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.gates import AT_ONCE, EACH, LONGEST, REQUEST_SECONDS, Gatekeeper
from haldane.control.ports import Manifest, Reply
from haldane.control.store import Key
from haldane.plan.gates import Findings
from haldane.plan.observed import Observed, RevisionPods

Run = Callable[[Any], Any]
FRAUD = Key("shop", "fraud")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
METADATA = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
ANSWER = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]}


class Pods:
    """Implements `control.ports.Runtimes`; `takes` are the seconds of an answer by pod."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.takes: dict[str, list[float]] = {}
        self.replies: dict[str, Reply] = {}
        self.under_way = self.most = 0

    async def ask(self, namespace: str, pod: str, path: str, body: Manifest | None, seconds: float) -> Reply:
        assert namespace == "shop"
        what = "infer" if body else "metadata"
        self.asked.append(f"{what} {pod}")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        times = self.takes.get(pod, [0.001])
        took = times.pop(0) if len(times) > 1 else times[0]
        await asyncio.sleep(min(took, seconds))
        self.under_way -= 1
        if took > seconds:
            return Reply(0, seconds=seconds, problem=f"no answer within {seconds:g} s")
        return self.replies.get(f"{what} {pod}", Reply(200, ANSWER if body else METADATA, took))


def preparing(**spec: Any) -> ModelDeployment:
    """Version 2 is ready to get its first request."""
    stable, candidate = ({"revision": name, "version": name, "replicas": 1} for name in ("old", "new"))
    rollout = {"phase": "Preparing", "startedAt": NOW, "phaseStartedAt": NOW}
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {"model": {"uri": "s3://models/2"}, **spec},
            "status": {"stable": stable, "candidate": candidate, "rollout": rollout},
        }
    )


SEEN = Observed({name: RevisionPods(name, 1, 1, askable=(f"{name}-0",)) for name in ("old", "new")})


async def found(pods: Pods, md: ModelDeployment, seen: Observed = SEEN) -> Findings:
    """What an inquiry finds, after the pass that it wakes."""
    woken = asyncio.Event()
    keeper = Gatekeeper(pods, lambda key: woken.set())
    assert keeper.report(FRAUD, md, "new", seen, NOW).findings is None
    assert keeper.report(FRAUD, md, "new", seen, NOW).findings is None
    await woken.wait()
    findings = keeper.report(FRAUD, md, "new", seen, NOW).findings
    assert findings
    assert keeper.report(FRAUD, md, "new", seen, NOW).findings is findings, "kept until status holds it"
    await keeper.close()
    return findings


def test_both_are_asked_what_they_take_and_then_the_same_requests(run_exactly: Run) -> None:
    pods = Pods()
    findings: Findings = run_exactly(found(pods, preparing()))
    assert pods.asked == ["metadata old-0", "metadata new-0", *["infer old-0"] * 6, *["infer new-0"] * 6]
    assert findings.own == findings.theirs
    assert [answer.request for answer in findings.answers] == [0, 1, 2, 0, 1, 2]
    assert len(findings.stable_answers) == 6


def test_without_a_ready_pod_of_stable_the_candidate_is_asked_alone(run_exactly: Run) -> None:
    pods = Pods()
    seen = Observed({"new": RevisionPods("new", 1, 1, askable=("new-0",))})
    findings: Findings = run_exactly(found(pods, preparing(), seen))
    assert set(pods.asked) == {"metadata new-0", "infer new-0"}
    assert findings.theirs is None


def test_a_signature_that_is_known_is_not_asked_for(run_exactly: Run) -> None:
    pods, md = Pods(), preparing()
    known = '[[["x","FP32",[-1,2]]],[["y","FP32",[-1]]]]'
    assert md.status.stable
    stable = md.status.stable.model_copy(update={"signature": known})
    md = md.model_copy(update={"status": md.status.model_copy(update={"stable": stable})})
    findings: Findings = run_exactly(found(pods, md))
    assert "metadata old-0" not in pods.asked
    assert findings.theirs == findings.own


def test_golden_requests_of_the_spec_are_sent_in_place_of_made_up_ones(run_exactly: Run) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    golden = {"requests": [{"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]}]}
    pods = Pods()
    pods.replies["metadata new-0"] = Reply(404, {"error": "not found"})
    findings: Findings = run_exactly(found(pods, preparing(model={"uri": "s3://models/2", "golden": golden})))
    assert [request.name for request in findings.requests] == ["golden request 0"]
    assert len(findings.answers) == 4
    assert findings.own
    assert "HTTP 404" in (findings.own.lacks or "")


@pytest.mark.parametrize("reply", [Reply(404, {"error": "?"}), Reply(0, problem="connection refused"), Reply(500)])
def test_nothing_more_is_asked_of_a_runtime_that_tells_nothing(run_exactly: Run, reply: Reply) -> None:
    pods = Pods()
    pods.replies["metadata new-0"] = reply
    findings: Findings = run_exactly(found(pods, preparing()))
    assert pods.asked == ["metadata old-0", "metadata new-0"]
    assert findings.answers == ()
    assert findings.own
    assert bool(findings.own.lacks) == (reply.code == 404)


def test_a_pace_that_looks_bad_is_measured_again_and_a_busy_moment_forgiven(run_exactly: Run) -> None:
    pods = Pods()
    # The metadata, and the first round of six; then the node is idle again.
    pods.takes["new-0"] = [0.001, *[0.5] * 6, 0.002]
    findings: Findings = run_exactly(found(pods, preparing()))
    assert pods.asked.count("infer new-0") == 12
    assert min(answer.seconds for answer in findings.answers) == 0.002


def test_a_model_that_is_slow_is_measured_three_times(run_exactly: Run) -> None:
    pods = Pods()
    pods.takes["new-0"] = [0.5]
    findings: Findings = run_exactly(found(pods, preparing()))
    assert pods.asked.count("infer new-0") == 18
    assert len(findings.stable_answers) == 18


def test_a_pod_that_hangs_is_asked_once_and_its_request_given_up(run_exactly: Run) -> None:
    pods = Pods()
    pods.takes["new-0"] = [0.001, 1000.0]
    findings: Findings = run_exactly(found(pods, preparing()))
    assert [(a.code, a.seconds) for a in findings.answers] == [(0, REQUEST_SECONDS)]


def test_what_takes_too_long_as_a_whole_is_no_answer(run_exactly: Run) -> None:
    pods = Pods()
    pods.takes = {"old-0": [4.9, 9.9], "new-0": [4.9, 9.99]}

    async def suspicious() -> Findings:
        return await found(pods, preparing(rollout={"smokeLatency": "1s"}))

    findings: Findings = run_exactly(suspicious())
    assert findings.own
    # Either the rounds end in time, or the whole inquiry is given up: it is bounded in any case.
    assert len(findings.answers) <= 6
    assert findings.own.silence in (None, f"it took longer than {LONGEST:g} s")


def test_few_are_asked_at_once_and_what_is_forgotten_is_given_up(run_exactly: Run) -> None:
    async def many() -> Pods:
        pods = Pods()
        woken: list[Key] = []
        pods.takes = {"old-0": [1.0], "new-0": [1.0]}
        keeper = Gatekeeper(pods, woken.append)
        keys = [Key("shop", f"model-{number}") for number in range(10)]
        for key in keys:
            keeper.report(key, preparing(), "new", SEEN, NOW)
        await asyncio.sleep(0.5)
        assert len(pods.asked) == EACH
        for key in keys[1:]:
            keeper.forget(key)
        await asyncio.sleep(60)
        assert woken == keys[:1]
        keeper.report(keys[1], preparing(), "new", SEEN, NOW)
        await keeper.close()
        await asyncio.sleep(60)
        assert woken == keys[:1]
        return pods

    assert run_exactly(many()).most == EACH


def test_pods_of_one_namespace_that_hang_hold_up_no_other_ones(run_exactly: Run) -> None:
    async def main() -> float:
        pods, woken = Pods(), asyncio.Event()
        pods.takes = {"old-0": [1000.0], "new-0": [1000.0]}
        keeper = Gatekeeper(pods, lambda key: woken.set() if key.namespace == "ours" else None)
        for number in range(3 * AT_ONCE):
            keeper.report(Key("shop", f"model-{number}"), preparing(), "new", SEEN, NOW)
        await asyncio.sleep(1.0)
        assert pods.under_way == EACH
        pods.takes = {}
        keeper.report(Key("ours", "fraud"), preparing(), "new", SEEN, NOW)
        await woken.wait()
        took = asyncio.get_running_loop().time()
        await keeper.close()
        return took

    assert run_exactly(main()) == pytest.approx(1.0, abs=0.1)


def test_an_answer_about_another_candidate_is_not_taken(run_exactly: Run) -> None:
    async def superseded() -> None:
        woken = asyncio.Event()
        keeper = Gatekeeper(Pods(), lambda key: woken.set())
        keeper.report(FRAUD, preparing(), "new", SEEN, NOW)
        await woken.wait()
        md = preparing()
        assert md.status.candidate
        other = md.status.candidate.model_copy(update={"revision": "newer"})
        md = md.model_copy(update={"status": md.status.model_copy(update={"candidate": other})})
        seen = Observed({**SEEN.revisions, "newer": RevisionPods("newer", 1, 1, askable=("newer-0",))})
        assert keeper.report(FRAUD, md, "newer", seen, NOW).findings is None
        await keeper.close()

    run_exactly(superseded())


def test_a_fault_of_its_own_is_told_as_silence(run_exactly: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Pods):
        async def ask(self, namespace: str, pod: str, path: str, body: Manifest | None, seconds: float) -> Reply:
            raise RuntimeError("a bug")

    findings: Findings = run_exactly(found(Broken(), preparing()))
    assert findings.own
    assert findings.own.silence == "the operator failed to ask; its log says why"
    assert "a bug" in caplog.text
