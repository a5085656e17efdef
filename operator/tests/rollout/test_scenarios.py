"""Whole rollouts, told as people tell them."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.plan.status import compose


def reasons(world: Any) -> list[str]:
    return [event.reason for event in world.events]


def test_first_deployment_goes_straight_to_stable(empty_world: Any) -> None:
    empty_world.run(2)
    assert empty_world.phase == "Initializing"
    empty_world.run_until("Stable")
    assert empty_world.version("stable") == "1"
    assert empty_world.status["rollout"]["message"] == "version 1 serves"
    assert reasons(empty_world) == ["Deploying", "Serving"]
    assert empty_world.weights == [0]


def test_first_revision_that_never_served_is_replaced_at_once(empty_world: Any) -> None:
    empty_world.deploy("1")
    empty_world.behaviours["1"].never_ready = True
    empty_world.run(30)
    empty_world.deploy("2")
    empty_world.run_until("Stable", 20)
    assert empty_world.version("stable") == "2"


def test_a_good_version_is_promoted_by_its_own_pods(world: Any) -> None:
    revision = world.deploy("2")
    world.run_until("Promoting")
    born = list(world.pods[revision])
    world.run_until("Watching")
    assert world.pods[revision][: len(born)] == born, "handover, not copy"
    world.run_until("Stable")
    assert world.version("stable") == "2"
    assert world.status.get("candidate") is None
    assert world.weights == [0, 5, 50, 100, 0]
    assert world.stranded == 0
    assert reasons(world) == ["RolloutStarted", "WeightChanged", "WeightChanged", "WeightChanged", "Promoted"]
    assert [h["outcome"] for h in world.status["history"]] == ["Promoted", "Promoted"]
    assert list(world.pods) == [revision], "the old pods are given back in the end"


def test_old_pods_stay_warm_for_as_long_as_asked(world: Any) -> None:
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.run(29)
    assert len(world.pods[old]) == 2
    world.run_until("Stable")
    assert old not in world.pods


def test_errors_beyond_the_abort_limit_roll_back_before_the_warm_up_is_over(world: Any) -> None:
    revision = world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("Progressing")
    started = world.now
    world.run_until("RollingBack")
    assert (world.now - started).total_seconds() <= 7
    world.run_until("Stable")
    assert world.version("stable") == "1"
    assert world.weights == [0, 5, 0]
    rejected = world.status["rejected"][0]
    assert (rejected["revision"], rejected["reason"]) == (revision, "CheckFailed")
    assert "abort limit 20%" in rejected["message"]
    assert revision not in world.pods
    world.run(60)
    assert world.phase == "Stable", "a rejected revision is not tried again by itself"


def test_slow_answers_roll_back(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].latency = 0.2
    world.run_until("RollingBack")
    message = world.status["rejected"][0]["message"]
    assert "check p99 failed" in message
    assert "beyond the limit 100ms" in message


def test_candidate_pods_drain_before_they_go(world: Any) -> None:
    revision = world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("RollingBack")
    at_zero = world.now
    world.run_until("Stable")
    assert (world.now - at_zero).total_seconds() >= 5
    assert revision not in world.pods


def test_errors_within_the_limit_do_not_cry_wolf(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].error_rate = 0.009
    world.behaviours["1"].error_rate = 0.009
    world.run_until("Watching")


def test_a_candidate_that_never_gets_ready_is_rolled_back_with_the_pods_reason(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].never_ready = True
    world.run_until("RollingBack", 130)
    rejected = world.status["rejected"][0]
    assert rejected["reason"] == "ProgressDeadlineExceeded"
    assert "ImagePullBackOff: no such image" in rejected["message"]
    assert world.weights == [0]


def test_without_traffic_the_step_is_held(world: Any) -> None:
    world.rate = 0
    world.deploy("2")
    world.run(600)
    assert (world.phase, world.status["rollout"]["weight"]) == ("Progressing", 5)
    assert "no requests arrive" in world.status["rollout"]["message"]
    world.rate = 200
    world.run_until("Watching")


def test_prometheus_down_holds_and_then_goes_on(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.prometheus_down = "connection refused"
    world.run(120)
    assert world.phase == "Progressing"
    assert "Prometheus gave no answer: connection refused" in world.status["rollout"]["message"]
    world.prometheus_down = None
    world.run_until("Watching")


@pytest.mark.parametrize(("choice", "phase"), [("Rollback", "RollingBack"), ("Promote", "Promoting")])
def test_on_inconclusive_decides_at_the_deadline(world: Any, choice: str, phase: str) -> None:
    world.spec["rollout"]["analysis"]["onInconclusive"] = choice
    world.spec["rollout"]["progressDeadline"] = "30s"
    world.deploy("2")
    world.run_until("Progressing")
    world.prometheus_down = "connection refused"
    world.run_until(phase, 200)


def test_spec_set_back_to_stable_aborts_at_once(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.run(10)
    world.deploy("1")
    world.run(1)
    assert world.status["rollout"]["weight"] == 0
    world.run_until("Stable")
    assert world.status.get("rejected", []) == []
    assert world.status["history"][-1]["outcome"] == "Aborted"
    assert world.version("stable") == "1"


def test_a_newer_spec_supersedes_through_weight_zero(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.run(10)
    third = world.deploy("3")
    world.run(1)
    assert world.status["rollout"]["weight"] == 0
    assert third not in world.pods
    world.run_until("Watching")
    assert world.version("stable") == "3"
    assert [h["outcome"] for h in world.status["history"]] == ["Promoted", "Superseded", "Promoted"]


def test_bad_then_good(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("RollingBack")
    world.deploy("3")
    world.run_until("Watching")
    assert world.version("stable") == "3"


def test_the_bad_spec_again_stays_rejected_until_retried(world: Any) -> None:
    bad = world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("RollingBack")
    world.run_until("Stable")
    world.deploy("1")
    world.run(5)
    world.deploy("2")
    world.run(60)
    assert world.phase == "Stable"
    world.behaviours["2"].error_rate = 0.0
    world.annotations["haldane.dev/retry"] = "1"
    world.run_until("Watching")
    assert world.serving == bad


def test_taking_the_retry_annotation_away_is_no_retry(world: Any) -> None:
    world.annotations["haldane.dev/retry"] = "1"
    world.deploy("2")
    world.behaviours["2"].error_rate = 1.0
    world.run_until("RollingBack")
    world.run_until("Stable")
    world.annotations.clear()
    world.run(60)
    assert world.phase == "Stable"


def test_failure_after_the_promotion_goes_back_to_warm_pods(world: Any) -> None:
    old = world.serving
    warm = list(world.pods[old])
    bad = world.deploy("2")
    world.run_until("Watching")
    world.behaviours["2"].error_rate = 0.5
    world.run_until("RollingBack")
    assert world.serving == old, "no wait: the old pods are warm"
    assert world.pods[old] == warm
    world.run_until("Stable")
    assert [r["revision"] for r in world.status["rejected"]] == [bad]
    assert "after the promotion" in world.status["rejected"][0]["message"]


def test_failure_after_the_old_pods_are_gone_brings_them_back_first(world: Any) -> None:
    world.spec["rollout"]["keepStableFor"] = "5s"
    world.spec["rollout"]["watchAfterPromotion"] = "5m"
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.run(20)
    assert old not in world.pods
    world.behaviours["2"].error_rate = 0.5
    world.run_until("RollingBack")
    assert world.serving != old
    world.run_until("Stable")
    assert world.serving == old
    assert world.stranded == 0


def test_spec_set_back_during_the_watch_is_an_instant_undo(world: Any) -> None:
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.deploy("1")
    world.run(1)
    assert world.serving == old
    world.run_until("Stable")
    assert world.status.get("rejected", []) == []


def test_a_crash_in_mid_step_rolls_back(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.behaviours["2"].crashed = True
    world.run(2)
    assert world.status["rejected"][0]["reason"] == "CandidateCrashed"
    assert world.status["rollout"]["weight"] == 0


def test_deleted_candidate_pods_cost_the_step_and_not_the_rollout(world: Any) -> None:
    revision = world.deploy("2")
    world.run_until("Progressing")
    world.run(10)
    world.pods[revision] = []
    world.run(1)
    assert (world.phase, world.status["rollout"]["weight"]) == ("Preparing", 0)
    world.run_until("Watching")
    assert world.weights == [0, 5, 0, 5, 50, 100, 0]


def test_a_scaling_edit_is_no_rollout_and_reaches_the_candidate(world: Any) -> None:
    revision = world.deploy("2")
    world.run_until("Progressing")
    world.spec["scaling"]["minReplicas"] = 4
    world.run_until("Watching")
    assert len(world.pods[revision]) == 4
    assert world.weights == [0, 5, 50, 100, 0]


def test_weight_waits_for_capacity(world: Any) -> None:
    world.spec["scaling"]["minReplicas"] = 10
    world.run(10)
    revision = world.deploy("2")
    world.behaviours["2"].starts_in = 15
    world.run_until("Progressing")
    assert len(world.pods[revision]) == 1
    world.run(300, lambda w: w.status["rollout"]["weight"] == 50)
    assert world.ready(revision) == 5


def test_a_free_query_fails_for_good_after_several_in_a_row(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from haldane.plan.observed import Series

    world.spec["rollout"]["checks"] = [
        {"name": "approvals", "query": {"promql": "approvals[{{window}}]", "max": "0.3"}}
    ]
    answer = world.answer
    monkeypatch.setattr(
        world, "answer", lambda promql, *ago: (Series({}, 0.5),) if "approvals" in promql else answer(promql, *ago)
    )
    world.deploy("2")
    world.run_until("RollingBack")
    failed = world.status["rollout"]["checks"][0]
    assert (failed["failures"], failed["value"], failed["limit"]) == (3, "0.5", "0.3")


def test_without_a_route_pod_counts_make_the_share(world: Any) -> None:
    del world.spec["traffic"]
    world.spec["scaling"]["minReplicas"] = 4
    world.run(10)
    revision = world.deploy("2")
    world.run_until("Progressing")
    assert len(world.pods[revision]) == 1


def test_steps_taken_out_of_the_spec_mid_rollout(world: Any) -> None:
    world.deploy("2")
    world.run(300, lambda w: w.status["rollout"].get("step") == 1)
    world.spec["rollout"]["steps"] = [{"weight": 5, "hold": "5s"}]
    world.run_until("Watching")


def test_a_clock_set_back_does_not_stop_the_rollout(world: Any) -> None:
    from datetime import timedelta

    world.deploy("2")
    world.run_until("Progressing")
    world.now -= timedelta(seconds=60)
    world.run_until("Watching", 1200)


def test_a_candidate_that_had_no_traffic_is_superseded_without_a_wait(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].starts_in = 60
    world.run_until("Preparing")
    world.run(20)
    third = world.deploy("3")
    world.run(3)
    assert third in world.pods


def autoscaled_to(world: Any, size: int) -> None:
    """What an autoscaler makes of stable's load: the engine only sees the Deployment's size."""
    world.spec["scaling"] = {"minReplicas": 2, "maxReplicas": 20}
    world.status["stable"]["replicas"] = size
    world.pods[world.serving] = [world.now] * size
    world.run(2)


def test_promotion_is_to_the_size_that_carried_everything_though_stable_was_scaled_down(world: Any) -> None:
    autoscaled_to(world, 10)
    old = world.serving
    revision = world.deploy("2")
    world.run(300, lambda w: w.status["rollout"]["weight"] == 50)
    world.pods[old] = world.pods[old][:5]
    world.run_until("Promoting")
    world.run(5)
    assert world.status["stable"]["replicas"] == 10
    assert len(world.pods[revision]) == 10


def grown_to(world: Any, revision: str, size: int) -> None:
    """What the candidate's autoscaler makes of its load."""
    world.pods[revision] = [world.now] * size
    world.autoscaled = {revision}


def test_a_candidate_that_its_autoscaler_grew_gets_pods_for_all_of_the_traffic_before_it_gets_all(world: Any) -> None:
    autoscaled_to(world, 10)
    revision = world.deploy("2")
    world.run(300, lambda w: w.status["rollout"]["weight"] == 50)
    assert len(world.pods[revision]) == 5
    grown_to(world, revision, 8)
    seen = []
    for _ in range(200):
        world.run(1)
        seen.append(world.status["candidate"]["replicas"] if world.status.get("candidate") else 0)
        if world.status["rollout"]["weight"] == 100:
            break
        if seen[-1] > 8:
            grown_to(world, revision, seen[-1])
    assert world.status["rollout"]["weight"] == 100
    assert world.ready(revision) == 15, "8 for one half: at least 15 for all"
    assert sorted(set(seen[:-1])) == [5, 15], "what is asked for does not waver"


def test_a_hung_new_stable_goes_back_and_the_warm_pods_stay(world: Any) -> None:
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.run(10)
    world.behaviours["2"].hangs = True
    world.run(3)
    assert world.serving == old
    assert world.status["rejected"][0]["reason"] == "NoReadyPods"


def test_nothing_is_given_back_while_the_new_stable_has_no_pod(world: Any) -> None:
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.behaviours["1"].hangs = True
    world.behaviours["2"].hangs = True
    world.run(120)
    assert world.phase == "Watching"
    assert old in world.pods
    world.behaviours["2"].hangs = False
    world.run_until("Stable")


def test_a_handover_that_is_never_seen_goes_back_at_its_deadline(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    old = world.serving
    world.deploy("2")
    world.run(300, lambda w: w.phase == "Promoting" and w.status.get("candidate") is None)
    observe = world.observe
    monkeypatch.setattr(world, "observe", lambda: dataclasses.replace(observe(), stable_endpoints={old: 2}))
    world.run(125)
    assert world.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"
    assert world.serving == old


def gone_for_good(world: Any) -> None:
    world.spec["rollout"]["keepStableFor"] = "5s"
    world.spec["rollout"]["watchAfterPromotion"] = "5m"
    world.deploy("2")
    world.run_until("Watching")
    world.run(20)
    world.behaviours["1"].never_ready = True
    world.behaviours["2"].error_rate = 0.5
    world.run_until("RollingBack")


def test_an_undo_that_cannot_be_ends_at_its_deadline(world: Any) -> None:
    gone_for_good(world)
    world.run_until("Stable", 130)
    assert world.version("stable") == "2"
    assert reasons(world)[-1] == "UndoFailed"
    assert [entry["version"] for entry in world.status["rejected"]] == ["2"], "what was found wrong with it stays known"
    last = world.status["history"][-1]
    assert (last["version"], last["outcome"]) == ("2", "RolledBack")
    assert last["message"].startswith(
        "version 1 could not be brought back; version 2 goes on, with this against it: check errors failed"
    )
    conditions = {c.type: c for c in compose(world.md, world.md.status, world.observe(), world.now).conditions}
    assert (conditions["Ready"].status, conditions["Ready"].reason) == ("False", "UndoFailed")
    assert "check errors failed" in conditions["Ready"].message
    assert conditions["Available"].status == "True"


def test_what_serves_for_want_of_another_is_accepted_by_a_retry(world: Any) -> None:
    gone_for_good(world)
    world.run_until("Stable", 130)
    world.annotations["haldane.dev/retry"] = "so be it"
    world.run(3)
    del world.annotations["haldane.dev/retry"]
    world.run(3)
    assert (world.phase, world.version("stable"), world.status.get("rejected", [])) == ("Stable", "2", [])
    conditions = {c.type: c for c in compose(world.md, world.md.status, world.observe(), world.now).conditions}
    assert conditions["Ready"].status == "True"


def test_what_serves_for_want_of_another_stays_rejected_when_another_takes_over(world: Any) -> None:
    gone_for_good(world)
    world.run_until("Stable", 130)
    world.deploy("3")
    world.run_until("Watching", 200)
    assert [entry["version"] for entry in world.status["rejected"]] == ["2"]


def test_a_new_spec_does_not_wait_for_an_undo_that_cannot_be(world: Any) -> None:
    gone_for_good(world)
    world.deploy("3")
    world.run_until("Progressing", 30)
    assert world.version("candidate") == "3"


@pytest.mark.parametrize("cause", ["a newer spec", "errors", "undecided", "too few pods"])
def test_traffic_does_not_go_back_to_a_stable_without_pods(world: Any, cause: str) -> None:
    world.deploy("2")
    world.run(300, lambda w: w.status["rollout"]["weight"] == 50)
    world.behaviours["1"].hangs = True
    if cause == "errors":
        world.behaviours["2"].error_rate = 0.1
    elif cause == "undecided":
        world.prometheus_down = "connection refused"
        world.spec["rollout"]["analysis"]["onInconclusive"] = "Rollback"
    elif cause == "too few pods":
        world.behaviours["2"].starts_in = 500.0
        world.annotations["haldane.dev/promote"] = "now"
    else:
        world.deploy("3")
    alone = world.deploy("2") if cause != "a newer spec" else world.status["candidate"]["revision"]
    if cause in ("undecided", "too few pods"):
        world.run_until("RollingBack", 300)
        assert world.serving == alone, "what alone has pods serves everything until stable has some"
    else:
        world.run(15)
        assert world.status["rollout"]["weight"] == 50
        assert "no pod of version 1 is ready" in world.status["rollout"]["message"]
    world.behaviours["1"].hangs = False
    world.run(8, lambda w: w.version("stable") == "1" and w.status["rollout"]["weight"] == 0)
    assert (world.phase, world.version("stable")) == ("RollingBack", "1")


def test_setting_the_spec_back_waits_for_all_of_the_old_pods(world: Any) -> None:
    old = world.serving
    world.deploy("2")
    world.run_until("Watching")
    world.pods[old] = world.pods[old][:1]
    world.deploy("1")
    world.run(1)
    assert world.serving != old
    world.run_until("Stable")
    assert world.serving == old


def test_a_rollout_does_not_end_while_a_service_leads_to_the_pods_that_go(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    bad = world.deploy("2")
    world.run_until("Watching")
    world.behaviours["2"].error_rate = 0.5
    world.run_until("RollingBack")
    observe = world.observe
    monkeypatch.setattr(world, "observe", lambda: dataclasses.replace(observe(), stable_endpoints={bad: 2}))
    world.run(20)
    assert world.phase == "RollingBack"
    assert bad in world.pods


def test_an_operator_that_was_away_does_not_reject_what_was_never_deployed(world: Any) -> None:
    from datetime import timedelta

    revision = world.deploy("2")
    world.run_until("Preparing")
    del world.pods[revision]
    world.now += timedelta(minutes=10)
    world.run_until("Watching")
    assert world.status.get("rejected", []) == []


def test_verdicts_are_counted_once_an_interval_while_the_share_is_looked_at_more_often(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from haldane.plan.observed import Series

    world.spec["rollout"]["analysis"] |= {"interval": "20s", "window": "60s"}
    world.spec["rollout"]["checks"] = [{"name": "approvals", "query": {"promql": "approvals", "max": "0.3"}}]
    answer = world.answer
    monkeypatch.setattr(
        world, "answer", lambda promql, *ago: (Series({}, 0.5),) if promql == "approvals" else answer(promql, *ago)
    )
    world.deploy("2")
    world.run_until("Progressing")
    started = world.now
    world.run_until("RollingBack")
    assert (world.now - started).total_seconds() >= 2 * 20
