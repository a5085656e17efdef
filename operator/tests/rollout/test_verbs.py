"""What people ask of a rollout by annotations: once per value, answered by an Event, and never more than was asked."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.plan.status import compose

APPROVE = "`kubectl annotate mdep fraud -n payments haldane.dev/approve={}-{} --overwrite`"


def ask(world: Any, verb: str, value: str | None, manager: str = "haldane:alice") -> None:
    """Set or remove a verb's annotation as somebody."""
    key = f"haldane.dev/{verb}"
    if value is None:
        world.annotations.pop(key)
        world.managers.pop(verb, None)
    else:
        world.annotations[key] = value
        world.managers[verb] = manager


def said(world: Any, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


@pytest.fixture
def waiting(world: Any) -> Any:
    """A rollout whose first step has passed and waits for a person."""
    world.spec["rollout"]["steps"][0]["approval"] = True
    world.deploy("2")
    world.run(120, lambda w: "approval" in w.status["rollout"]["message"])
    return world


def told(world: Any) -> str:
    """What the condition Ready says."""
    shown = compose(world.md, world.md.status, world.observe(), world.now)
    return next(condition.message for condition in shown.conditions if condition.type == "Ready")


class TestApprove:
    def test_a_step_that_has_passed_waits_and_says_for_what(self, waiting: Any) -> None:
        revision = waiting.status["candidate"]["revision"]
        waiting.run(600)
        assert (waiting.phase, waiting.status["rollout"]["weight"]) == ("Progressing", 5)
        message = waiting.status["rollout"]["message"]
        assert message == f"weight 5%: step 1 waits for approval: {APPROVE.format(revision, 1)}"

    def test_a_persons_word_lets_it_go_on(self, waiting: Any) -> None:
        ask(waiting, "approve", "yes")
        waiting.run_until("Watching")
        assert said(waiting, "Approved") == ["Step 1 (weight 5%) of version 2 is approved by alice."]
        assert waiting.weights == [0, 5, 50, 100, 0]

    def test_the_same_word_approves_no_other_step(self, waiting: Any) -> None:
        waiting.spec["rollout"]["steps"][1]["approval"] = True
        ask(waiting, "approve", "yes")
        waiting.run(300)
        assert waiting.status["rollout"]["weight"] == 50
        ask(waiting, "approve", "yes again")
        waiting.run_until("Watching")
        assert len(said(waiting, "Approved")) == 2

    def test_it_may_come_while_the_step_is_held(self, world: Any) -> None:
        world.spec["rollout"]["steps"][0]["approval"] = True
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "approve", "early")
        world.run_until("Watching")

    def test_a_word_from_before_the_rollout_approves_nothing(self, world: Any) -> None:
        world.spec["rollout"]["steps"][0]["approval"] = True
        ask(world, "approve", "old")
        world.run(5)
        assert said(world, "NothingToApprove") == ["Nothing to approve by alice: no step waits for it."]
        world.deploy("2")
        world.run(300)
        assert world.status["rollout"]["weight"] == 5

    def test_the_checks_go_on_while_a_person_is_awaited(self, waiting: Any) -> None:
        waiting.behaviours["2"].error_rate = 0.5
        waiting.run_until("RollingBack", 60)

    def test_undecided_checks_are_promoted_only_with_the_approval(self, world: Any) -> None:
        world.spec["rollout"]["steps"][0]["approval"] = True
        world.spec["rollout"]["progressDeadline"] = "30s"
        world.spec["rollout"]["analysis"]["onInconclusive"] = "Promote"
        world.deploy("2")
        world.run_until("Progressing")
        world.prometheus_down = "connection refused"
        world.run(20)
        assert "without them, as onInconclusive asks, once it is approved." in told(world)
        world.run(180)
        assert world.status["rollout"]["weight"] == 5
        assert "waits for approval" in world.status["rollout"]["message"]
        assert "Undecided checks hold nothing up here: the step ends with its approval." in told(world)
        ask(world, "approve", "go")
        world.run(20)
        assert world.status["rollout"]["weight"] == 50

    def test_a_step_that_a_person_decides_is_not_held_by_undecided_checks(self, world: Any) -> None:
        world.spec["traffic"]["ingress"]["previewHeader"] = "x-preview"
        world.spec["rollout"]["steps"].insert(0, {"weight": 0, "hold": "10s", "approval": True})
        world.deploy("2")
        world.run_until("Progressing")
        for _ in range(40):
            world.run(1)
            assert "hold the rollout" not in told(world)
        assert "Checks errors, p99 are undecided: no requests reached the candidate; 50 are needed." in told(world)
        assert "Undecided checks hold nothing up here: the step ends with its approval." in told(world)

    def test_undecided_checks_hold_no_promotion(self, world: Any) -> None:
        world.spec["rollout"]["analysis"]["warmup"] = "60s"
        world.deploy("2")
        world.run(600, lambda w: w.status["rollout"]["weight"] == 100 and w.status["rollout"]["checks"])
        assert "Undecided checks roll nothing back." in told(world)


class TestPause:
    @pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Promoting"])
    def test_nothing_goes_forward_while_it_stands(self, world: Any, phase: str) -> None:
        world.deploy("2")
        world.run_until(phase)
        ask(world, "pause", "INC-12")
        world.run(2)
        weights = list(world.weights)
        world.run(1200)
        assert world.weights[: len(weights) + 1] == world.weights
        assert world.phase == phase
        assert world.version("stable") == "1"
        text = "paused by alice (INC-12); to go on: `kubectl annotate mdep fraud -n payments haldane.dev/pause-`"
        assert text in world.status["rollout"]["message"]
        assert len(said(world, "Paused")) == 1
        ask(world, "pause", None)
        world.run_until("Watching")
        assert said(world, "Resumed") == ["Resumed: rollouts go on."]
        assert world.stranded == 0

    def test_a_new_spec_is_not_begun(self, world: Any) -> None:
        ask(world, "pause", "true")
        world.deploy("2")
        world.run(60)
        assert (world.phase, world.version("candidate")) == ("Stable", None)
        assert "version 2 is not rolled out: paused by alice; to go on:" in world.status["rollout"]["message"]
        ask(world, "pause", "false")
        world.run_until("Watching")
        assert said(world, "Resumed") == ["Resumed by alice: rollouts go on."]

    def test_going_back_is_not_held(self, world: Any) -> None:
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "pause", "true")
        world.behaviours["2"].error_rate = 0.5
        world.run_until("RollingBack", 60)
        world.run_until("Stable")

    def test_the_old_pods_stay_warm_and_are_given_back_later(self, world: Any) -> None:
        old = world.serving
        world.deploy("2")
        world.run_until("Watching")
        ask(world, "pause", "true")
        world.run(600)
        assert world.phase == "Watching"
        assert len(world.pods[old]) == 2
        ask(world, "pause", None)
        world.run(25)
        assert world.phase == "Watching", "the watch begins anew"
        world.run_until("Stable")
        assert old not in world.pods

    def test_a_handover_is_finished(self, world: Any) -> None:
        world.deploy("2")
        world.run(300, lambda w: w.phase == "Promoting" and w.status.get("candidate") is None)
        ask(world, "pause", "true")
        world.run_until("Watching", 30)

    def test_a_candidate_that_cannot_start_is_not_judged_by_the_time_it_was_held(self, world: Any) -> None:
        world.deploy("2")
        world.behaviours["2"].never_ready = True
        world.run_until("Preparing")
        ask(world, "pause", "true")
        world.run(600)
        assert world.phase == "Preparing"
        ask(world, "pause", None)
        world.run(60)
        assert world.phase == "Preparing", "the deadline begins anew"
        world.run_until("RollingBack", 120)


class TestAbort:
    @pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Promoting", "Watching"])
    def test_the_rollout_goes_back_at_once_and_is_not_tried_again(self, world: Any, phase: str) -> None:
        old = world.serving
        revision = world.deploy("2")
        world.run_until(phase)
        ask(world, "abort", "now")
        world.run(1)
        assert (world.phase, world.status["rollout"]["weight"], world.serving) == ("RollingBack", 0, old)
        world.run(120)
        assert (world.phase, world.version("stable")) == ("Stable", "1")
        rejected = world.status["rejected"][0]
        assert (rejected["revision"], rejected["reason"], rejected["message"]) == (
            revision,
            "Aborted",
            "aborted by alice",
        )
        assert world.status["history"][-1]["outcome"] == "Aborted"
        assert said(world, "Aborted") == ["Version 2: aborted by alice."]
        assert world.stranded == 0

    def test_a_retry_tries_it_again_and_the_old_abort_does_not_end_it(self, world: Any) -> None:
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "abort", "now")
        world.run(60)
        ask(world, "retry", "1", "kubectl-annotate")
        world.run_until("Watching")
        assert said(world, "Retried") == ["Version 2 is tried again, as asked by kubectl-annotate."]

    def test_a_retry_without_a_rejection_is_answered_and_lies_in_wait_for_none(self, world: Any) -> None:
        ask(world, "retry", "1")
        world.run(2)
        told = ["Nothing to retry by alice: version 1 is not among the rejected."]
        assert said(world, "NothingToRetry") == told
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "abort", "now")
        world.run(60)
        assert (world.phase, world.status["rejected"][0]["retry"]) == ("Stable", "1")
        assert said(world, "NothingToRetry") == told
        ask(world, "retry", "2")
        world.run_until("Watching")
        assert said(world, "Retried") == ["Version 2 is tried again, as asked by alice."]
        assert said(world, "NothingToRetry") == told
        assert world.status["verbs"] == {"abort": "now", "retry": "2"}
        ask(world, "retry", None)
        world.run(2)
        assert world.status["verbs"] == {"abort": "now"}

    def test_it_waits_for_a_stable_that_can_take_the_requests(self, world: Any) -> None:
        world.deploy("2")
        world.run_until("Progressing")
        world.behaviours["1"].hangs = True
        ask(world, "abort", "now")
        world.run(20)
        assert (world.phase, world.status["rollout"]["weight"]) == ("Progressing", 5)
        world.behaviours["1"].hangs = False
        world.run(2)
        assert (world.phase, world.status["rollout"]["weight"]) == ("RollingBack", 0)

    def test_without_a_rollout_it_is_answered_and_lies_in_wait_for_none(self, world: Any) -> None:
        ask(world, "abort", "now")
        world.run(2)
        assert said(world, "NothingToAbort") == ["Nothing to abort by alice: no rollout is under way."]
        world.deploy("2")
        world.run_until("Watching")

    def test_set_again_after_it_was_removed_it_counts_again(self, world: Any) -> None:
        ask(world, "abort", "true")
        world.run(2)
        ask(world, "abort", None)
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "abort", "true")
        world.run(1)
        assert world.phase == "RollingBack"

    def test_false_asks_for_nothing(self, world: Any) -> None:
        world.deploy("2")
        for verb in ("abort", "promote", "approve", "pause"):
            ask(world, verb, "False")
        world.run_until("Watching")
        assert {event.reason for event in world.events} == {"RolloutStarted", "WeightChanged", "Promoted"}


class TestPromote:
    @pytest.mark.parametrize("phase", ["Preparing", "Progressing"])
    def test_the_steps_are_skipped_and_history_says_so(self, world: Any, phase: str) -> None:
        world.deploy("2")
        world.run_until(phase)
        weight = world.status["rollout"]["weight"]
        ask(world, "promote", "now", "kubectl-annotate")
        world.run_until("Watching", 60)
        assert world.weights == [*sorted({0, weight, 100}), 0]
        assert world.stranded == 0
        how = f"was promoted by kubectl-annotate at weight {weight}%, before it had passed every step"
        assert said(world, "PromotedNow") == [f"Version 2 {how}."]
        assert world.status["history"][-1]["message"] == f"version 2 {how}"

    def test_pods_that_are_not_ready_are_waited_for_until_the_deadline(self, world: Any) -> None:
        world.deploy("2")
        world.behaviours["2"].never_ready = True
        world.run_until("Preparing")
        ask(world, "promote", "now")
        world.run(60)
        assert (world.phase, world.status["rollout"]["weight"]) == ("Promoting", 0)
        world.run_until("RollingBack", 120)
        assert world.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"

    def test_a_failing_check_still_goes_back(self, world: Any) -> None:
        world.deploy("2")
        world.behaviours["2"].error_rate = 0.5
        world.run_until("Preparing")
        ask(world, "promote", "now")
        world.run_until("RollingBack", 60)
        world.run_until("Stable")
        assert world.version("stable") == "1"

    def test_no_approval_is_needed(self, waiting: Any) -> None:
        ask(waiting, "promote", "now")
        waiting.run_until("Watching", 60)

    def test_without_a_candidate_it_is_answered(self, world: Any) -> None:
        ask(world, "promote", "now")
        world.run(2)
        assert said(world, "NothingToPromote") == ["Nothing to promote by alice: no candidate is waiting."]
        world.deploy("2")
        world.run(300, lambda w: 5 in w.weights)
        assert world.phase == "Progressing"

    def test_abort_counts_more(self, world: Any) -> None:
        world.deploy("2")
        world.run_until("Progressing")
        ask(world, "promote", "now")
        ask(world, "abort", "now")
        world.run(1)
        assert world.phase == "RollingBack"
        assert said(world, "NothingToPromote") == ["Nothing to promote by alice: the rollout is aborted."]


def test_the_same_manifest_again_and_again_asks_for_nothing_new(world: Any) -> None:
    for verb in ("abort", "promote", "approve"):
        ask(world, verb, "from git", "argocd-controller")
    world.run(5)
    told = len(world.events)
    world.run(20)
    assert len(world.events) == told
    world.deploy("2")
    world.run_until("Watching")
    assert world.weights == [0, 5, 50, 100, 0]


def test_undecided_steps_are_not_said_to_have_passed(world: Any) -> None:
    world.spec["rollout"]["analysis"]["onInconclusive"] = "Promote"
    world.spec["rollout"]["progressDeadline"] = "30s"
    world.deploy("2")
    world.run_until("Progressing")
    world.prometheus_down = "connection refused"
    world.run_until("Watching", 400)
    message = world.status["history"][-1]["message"]
    assert message == "version 2 went on without proof at weight 50%, as onInconclusive asks"
