"""Before the first request: what is refused, what holds, what is passed over, and that each comes to an end."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.plan.observed import Problem

from .world import Behaviour


@pytest.fixture
def gated(world: Any) -> Any:
    """Version 1 serves; pods are asked before any traffic, and little after it."""
    world.gates = True
    world.spec["rollout"] |= {"checks": [], "steps": [{"weight": 5, "hold": "1s"}], "progressDeadline": "1m"}
    world.spec["rollout"] |= {"keepStableFor": "2s", "watchAfterPromotion": "2s"}
    return world


def gates(world: Any) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in world.status["rollout"]["gates"]}


def reasons(world: Any) -> list[str]:
    return [event.reason for event in world.events]


STRATEGIES = pytest.mark.parametrize("strategy", ["Canary", "BlueGreen", "Recreate"])


@STRATEGIES
def test_a_version_that_fits_gets_its_traffic_and_is_asked_once(gated: Any, strategy: str) -> None:
    gated.spec["rollout"]["strategy"] = strategy
    revision = gated.deploy("2")
    gated.run_until("Watching")
    assert gates(gated) == {
        "signature": "Pass",
        "answers": "Pass",
        "latency": "Pass",
    }
    assert len([one for one in gated.asked if one.subject.candidate == revision]) == 1
    assert gated.status["stable"]["signature"] == '[[["x","FP32",[-1,64]]],[["y","FP32",[-1,10]]]]'
    # What was learnt of it is not asked for again.
    gated.run_until("Stable")
    gated.deploy("3")
    gated.run_until("Watching")
    assert gated.asked[-1].stable_signature is not None
    assert gated.version("stable") == "3"


REFUSED = [
    (
        {"classes": 12},
        "SignatureChanged",
        'output "y" is FP32 [-1,10] in version 1 and FP32 [-1,12] here: if all clients are ready for it, set rollout.allowSignatureChange: true, and the annotation haldane.dev/retry',
    ),
    ({"nonfinite": True}, "BadAnswers", 'output "y" holds NaN or Infinity for every request'),
    ({"idle": 0.9}, "TooSlow", "took 900ms, 225 times the 4ms of version 1"),
]


@pytest.mark.parametrize(("behaviour", "reason", "text"), REFUSED, ids=[row[1] for row in REFUSED])
@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen"])
def test_what_does_not_fit_gets_no_request(
    gated: Any, strategy: str, behaviour: dict[str, Any], reason: str, text: str
) -> None:
    gated.spec["rollout"]["strategy"] = strategy
    gated.behaviours["2"] = Behaviour(**behaviour)
    gated.deploy("2")
    gated.run_until("RollingBack")
    gated.run_until("Stable")
    assert gated.weights == [0]
    assert gated.version("stable") == "1"
    rejected = gated.status["rejected"][0]
    assert (rejected["version"], rejected["reason"]) == ("2", reason)
    assert text in rejected["message"]
    assert "RolledBack" in reasons(gated)
    asked = len(gated.asked)
    gated.run(60)
    assert len(gated.asked) == asked, "a rejected version is left alone"


def test_recreate_reads_what_stable_takes_before_its_pods_go_and_brings_them_back(gated: Any) -> None:
    gated.spec["rollout"]["strategy"] = "Recreate"
    gated.behaviours["2"] = Behaviour(classes=12)
    gated.deploy("2")
    gated.run(1)
    assert gated.phase == "Stable"
    assert "asking version 1 what it takes, before its pods go" in gated.status["rollout"]["message"]
    gated.run_until("Preparing")
    assert gated.asked[0].subject.candidate is None
    assert gated.status["stable"]["signature"]
    gated.run_until("RollingBack")
    assert gated.status["rejected"][0]["reason"] == "SignatureChanged"
    gated.run_until("Stable")
    gated.run(10)
    assert gated.version("stable") == "1"
    assert gated.ready(gated.serving) == 2


def test_recreate_begins_without_an_answer_of_stables_when_any_change_is_allowed(gated: Any) -> None:
    gated.spec["rollout"]["strategy"] = "Recreate"
    gated.behaviours["1"].mute = True
    gated.deploy("2")
    gated.run(10)
    assert "with rollout.allowSignatureChange: true it begins without" in gated.status["rollout"]["message"]
    assert gated.ready(gated.serving) == 2
    gated.spec["rollout"]["allowSignatureChange"] = True
    gated.run_until("Watching")
    assert gates(gated)["signature"] == "Skipped"


def test_a_change_that_is_allowed_is_told_and_goes_on(gated: Any) -> None:
    gated.spec["rollout"]["allowSignatureChange"] = True
    gated.behaviours["2"] = Behaviour(classes=12)
    gated.deploy("2")
    gated.run_until("Progressing")
    signature = gated.status["rollout"]["gates"][0]
    assert signature["verdict"] == "Pass"
    assert signature["message"].startswith('differs, as allowSignatureChange allows: output "y" is FP32 [-1,10]')


def test_a_limit_of_its_own_stands_in_place_of_the_comparison(gated: Any) -> None:
    gated.spec["rollout"]["smokeLatency"] = "1s"
    gated.behaviours["2"] = Behaviour(idle=0.9)
    gated.deploy("2")
    gated.run_until("Progressing")
    assert gates(gated)["latency"] == "Pass"


@STRATEGIES
@pytest.mark.parametrize("silent", ["1", "2"])
def test_who_cannot_be_asked_holds_and_goes_on_when_he_answers(gated: Any, strategy: str, silent: str) -> None:
    gated.spec["rollout"]["strategy"] = strategy
    gated.behaviours.setdefault(silent, Behaviour()).mute = True
    gated.deploy("2")
    gated.run(25)
    assert gated.weights == [0]
    assert f"version {silent} could not be asked" in gated.status["rollout"]["message"]
    assert "connection refused" in gated.status["rollout"]["message"]
    assert reasons(gated).count("GateUndecided") <= 3, "told once, not at every try"
    assert 3 <= len(gated.asked) <= 8, "tried again, at a growing distance"
    if silent == "1" or strategy != "Recreate":
        assert gated.ready(gated.serving) == 2
    gated.behaviours[silent].mute = False
    gated.run_until("Watching")
    assert gated.version("stable") == "2"


def test_beyond_the_deadline_it_goes_on_holding_and_says_so(gated: Any) -> None:
    gated.behaviours["2"] = Behaviour(mute=True)
    gated.deploy("2")
    gated.run(150)
    assert (gated.phase, gated.weights) == ("Preparing", [0])
    assert "it is asked again and again, and haldane promote goes on without" in gated.status["rollout"]["message"]
    assert len(gated.asked) <= 12
    gated.behaviours["2"].mute = False
    gated.run_until("Progressing")


@STRATEGIES
def test_on_inconclusive_decides_at_the_deadline(gated: Any, strategy: str) -> None:
    gated.spec["rollout"]["strategy"] = strategy
    gated.spec["rollout"]["analysis"]["onInconclusive"] = "Promote"
    gated.behaviours["2"] = Behaviour(mute=True)
    gated.deploy("2")
    gated.run(55)
    assert gated.weights == [0]
    gated.run_until("Watching")
    assert gates(gated) == dict.fromkeys(("signature", "answers", "latency"), "Skipped")
    assert "PromotedUndecided" in reasons(gated)
    assert "without an answer before its first request" in gated.status["history"][-1]["message"]


@pytest.mark.parametrize(("strategy", "choice"), [("Canary", "Rollback"), ("Recreate", "Hold")])
def test_it_goes_back_at_the_deadline_where_that_is_asked_for_or_nobody_serves(
    gated: Any, strategy: str, choice: str
) -> None:
    gated.spec["rollout"]["strategy"] = strategy
    gated.spec["rollout"]["analysis"]["onInconclusive"] = choice
    gated.behaviours["2"] = Behaviour(mute=True)
    gated.deploy("2")
    gated.run_until("RollingBack")
    rejected = gated.status["rejected"][0]
    assert rejected["reason"] == "Inconclusive"
    assert "version 2 could not be asked: connection refused" in rejected["message"]
    gated.run_until("Stable")
    gated.run(10)
    assert gated.ready(gated.serving) == 2


def test_the_deadline_of_slow_pods_leaves_time_to_ask(gated: Any) -> None:
    gated.spec["rollout"]["analysis"]["onInconclusive"] = "Rollback"
    gated.behaviours["2"] = Behaviour(starts_in=59.0, mute=True)
    gated.deploy("2")
    gated.run(70)
    gated.behaviours["2"].mute = False
    gated.run_until("Progressing")


@pytest.mark.parametrize("mute", ["1", "2"])
def test_who_promotes_by_hand_does_not_wait_for_those_who_do_not_answer(gated: Any, mute: str) -> None:
    gated.behaviours.setdefault(mute, Behaviour()).mute = True
    gated.deploy("2")
    gated.run(10)
    gated.annotations["haldane.dev/promote"] = "now"
    gated.run(40)
    assert 100 in gated.weights
    gated.run_until("Stable")
    assert gated.version("stable") == "2"


def test_who_promotes_by_hand_gets_no_version_that_does_not_fit(gated: Any) -> None:
    gated.behaviours["2"] = Behaviour(classes=12, starts_in=20.0)
    gated.deploy("2")
    gated.run(5)
    gated.annotations["haldane.dev/promote"] = "now"
    gated.run_until("RollingBack")
    assert gated.weights == [0]
    assert gated.status["rejected"][0]["reason"] == "SignatureChanged"


def test_runtimes_that_tell_no_signature_are_passed_over_with_a_word(gated: Any) -> None:
    gated.behaviours["1"].classes = 0
    gated.deploy("2")
    gated.run_until("Watching")
    assert gates(gated)["signature"] == "Skipped"
    assert "version 1 does not tell it: HTTP 404" in gated.status["rollout"]["gates"][0]["message"]
    assert "GateSkipped" in reasons(gated)
    gated.run_until("Stable")
    gated.behaviours["3"] = Behaviour(classes=0)
    gated.deploy("3")
    gated.run_until("Watching")
    assert set(gates(gated).values()) == {"Skipped"}
    gated.run_until("Stable")
    gated.deploy("4")
    gated.run_until("Watching")
    assert gates(gated)["signature"] == "Skipped", "what it does not tell is not asked for again"


def test_a_stable_without_pods_does_not_stand_in_the_way_of_a_good_version(gated: Any) -> None:
    gated.behaviours["1"].crashed = True
    gated.deploy("2")
    gated.run(20)
    assert gated.weights == [0]
    assert "no pod of version 1 is ready to be asked" in gated.status["rollout"]["message"]
    gated.run_until("Progressing", 60)
    assert gates(gated)["signature"] == "Skipped"
    gated.run_until("Watching", 120)
    assert gated.version("stable") == "2"
    gated.run_until("Stable")


def test_a_version_that_lost_its_pods_is_not_asked_again(gated: Any) -> None:
    gated.deploy("2")
    gated.run_until("Progressing")
    asked = len(gated.asked)
    gated.behaviours["2"].hangs = True
    gated.run_until("Preparing")
    gated.behaviours["2"].hangs = False
    gated.run_until("Watching")
    assert len(gated.asked) == asked


def test_a_retry_asks_anew(gated: Any) -> None:
    gated.behaviours["2"] = Behaviour(nonfinite=True)
    gated.deploy("2")
    gated.run_until("RollingBack")
    gated.run_until("Stable")
    gated.behaviours["2"].nonfinite = False
    gated.annotations["haldane.dev/retry"] = "1"
    gated.run_until("Watching")
    assert gated.version("stable") == "2"


@pytest.mark.parametrize("strategy", ["Canary", "Recreate"])
@pytest.mark.parametrize("reason", ["GoldenMismatch", "PrecisionLoss"])
def test_golden_requests_that_fail_at_the_start_are_not_waited_for(
    world: Any, monkeypatch: pytest.MonkeyPatch, strategy: str, reason: str
) -> None:
    told = "request 0 of golden.json: output 'y' at [0, 3] is 0.2, not 0.7: export the model again."
    world.spec["rollout"]["strategy"] = strategy
    world.behaviours["2"] = Behaviour(never_ready=True)
    seen = world.observe

    def observe() -> Any:
        found = seen()
        for name, pods in found.revisions.items():
            if pods.problem:
                object.__setattr__(found.revisions[name], "problem", Problem(reason, told, crashed=True))
        return found

    monkeypatch.setattr(world, "observe", observe)
    world.deploy("2")
    world.run_until("RollingBack", 30)
    rejected = world.status["rejected"][0]
    assert rejected["reason"] == reason
    assert rejected["message"] == told.rstrip(".")
    assert set(world.weights) <= {0}
