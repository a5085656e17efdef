"""BlueGreen and Recreate, told as people tell them."""

from __future__ import annotations

from typing import Any

import pytest

PREVIEW = {"className": "nginx", "previewHeader": "X-Preview"}


def reasons(world: Any) -> list[str]:
    return [event.reason for event in world.events]


@pytest.fixture
def blue_green(world: Any) -> Any:
    world.spec["rollout"] |= {"strategy": "BlueGreen", "steps": [{"weight": 0, "hold": "20s"}]}
    return world


@pytest.fixture
def recreate(world: Any) -> Any:
    del world.spec["rollout"]["steps"]
    world.spec["rollout"]["strategy"] = "Recreate"
    return world


class TestBlueGreen:
    def test_one_switch_at_full_size_after_a_look(self, blue_green: Any) -> None:
        blue_green.spec["scaling"]["minReplicas"] = 4
        blue_green.run(10)
        old, revision = blue_green.serving, blue_green.deploy("2")
        blue_green.run_until("Progressing")
        began = blue_green.now
        assert blue_green.ready(revision) == 4
        assert blue_green.status["rollout"]["weight"] == 0
        blue_green.run_until("Promoting")
        assert (blue_green.now - began).total_seconds() >= 19
        blue_green.run_until("Watching")
        assert len(blue_green.pods[old]) == 4, "warm, for an instant undo"
        assert blue_green.weights == [0, 100, 0]
        assert reasons(blue_green) == ["RolloutStarted", "Previewed", "WeightChanged", "Promoted"]
        assert blue_green.status["history"][-1]["message"] == "version 2 took over in one switch"
        blue_green.run_until("Stable")
        assert blue_green.stranded == 0

    @pytest.mark.parametrize("written", [True, False])
    def test_without_a_step_it_switches_as_soon_as_it_is_ready(self, blue_green: Any, written: bool) -> None:
        if written:
            blue_green.spec["rollout"]["steps"] = [{"weight": w, "hold": "1h"} for w in (1, 5, 25, 50)]
        else:
            del blue_green.spec["rollout"]["steps"]
        blue_green.deploy("2")
        blue_green.run_until("Watching", 40)
        assert blue_green.weights == [0, 100, 0]

    def test_a_person_may_have_to_say_yes(self, blue_green: Any) -> None:
        blue_green.spec["rollout"]["steps"][0]["approval"] = True
        blue_green.deploy("2")
        blue_green.run(600)
        assert "weight 0%: step 1 waits for approval" in blue_green.status["rollout"]["message"]
        blue_green.annotations["haldane.dev/approve"] = "yes"
        blue_green.run_until("Watching", 40)

    def test_requests_with_the_header_are_judged(self, blue_green: Any) -> None:
        blue_green.spec["traffic"]["ingress"] = PREVIEW
        blue_green.previewed = 20
        blue_green.deploy("2")
        blue_green.behaviours["2"].error_rate = 0.5
        blue_green.run_until("RollingBack", 60)
        assert blue_green.weights == [0]
        assert blue_green.status["rejected"][0]["reason"] == "CheckFailed"

    def test_with_a_header_that_nobody_sends_nothing_is_proven(self, blue_green: Any) -> None:
        blue_green.spec["traffic"]["ingress"] = PREVIEW
        blue_green.deploy("2")
        blue_green.run(300)
        assert blue_green.weights == [0]
        blue_green.previewed = 20
        blue_green.run_until("Watching", 60)

    def test_a_failure_after_the_switch_goes_back_to_warm_pods(self, blue_green: Any) -> None:
        old, revision = blue_green.serving, blue_green.deploy("2")
        blue_green.behaviours["2"].error_rate = 0.5
        blue_green.run_until("Promoting")
        warm = list(blue_green.pods[old])
        blue_green.run(60)
        assert blue_green.version("stable") == "1"
        assert blue_green.pods[old] == warm
        assert blue_green.status["rejected"][0]["revision"] == revision

    def test_without_a_route_the_service_switches(self, blue_green: Any) -> None:
        del blue_green.spec["traffic"]
        blue_green.deploy("2")
        blue_green.run_until("Watching", 60)
        assert blue_green.stranded == 0


def test_a_canary_that_is_edited_into_a_switch_still_proves_itself(world: Any) -> None:
    """A change of strategy is for the next rollout, and so are the steps that come with it."""
    world.run(10)
    world.deploy("2")
    world.run_until("Progressing")
    world.spec["rollout"] |= {"strategy": "BlueGreen", "steps": [{"weight": 0, "hold": "1s"}]}
    world.run(30)
    assert world.status["rollout"]["phase"] == "Progressing"
    assert world.status["rollout"]["weight"] > 0


def test_a_canary_may_begin_with_a_look_at_weight_0(world: Any) -> None:
    world.spec["rollout"]["steps"].insert(0, {"weight": 0, "hold": "10s"})
    world.deploy("2")
    world.run_until("Progressing")
    assert world.status["rollout"]["weight"] == 0
    world.run_until("Watching")
    assert world.weights == [0, 5, 50, 100, 0]


class TestRecreate:
    def test_the_old_pods_go_first(self, recreate: Any) -> None:
        old, revision = recreate.serving, recreate.deploy("2")
        most = 0
        for _ in range(40):
            recreate.run(1)
            observed = recreate.observe().revisions
            most = max(most, sum(pods.present for pods in observed.values()))
            if recreate.phase == "Preparing" and recreate.ready(revision) == 0:
                assert recreate.ready(old) == 0
                assert recreate.status["stable"]["replicas"] == 2, "what it had is remembered"
        assert most == 2, "never more pods than one revision has"
        assert (recreate.serving, recreate.weights) == (revision, [0])
        recreate.run_until("Stable")
        assert recreate.version("stable") == "2"
        assert old not in recreate.pods
        message = recreate.status["history"][-1]["message"]
        assert message == "version 2 took over from pods that went first"
        assert "in place of 1, whose pods go first" in recreate.events[0].message

    def test_the_gap_is_told_while_it_lasts(self, recreate: Any) -> None:
        recreate.deploy("2")
        recreate.behaviours["2"].starts_in = 30
        recreate.run(2)
        assert "waiting for the pods of version 1 to go" in recreate.status["rollout"]["message"]
        recreate.run(10)
        text = "nothing serves until a pod of version 2 is ready: 0 of 2 are"
        assert recreate.status["rollout"]["message"] == text

    def test_pods_that_were_never_asked_for_are_all_asked_for(self, recreate: Any) -> None:
        revision = recreate.deploy("2")
        recreate.run(30, lambda w: w.pods.get(revision))
        del recreate.pods[revision]
        recreate.run(1)
        assert recreate.status["rollout"]["message"] == "creating the candidate's pods"
        assert (recreate.status["candidate"]["replicas"], len(recreate.pods[revision])) == (2, 2)

    def test_a_candidate_that_never_gets_ready_gives_way_to_the_old_one(self, recreate: Any) -> None:
        old, revision = recreate.serving, recreate.deploy("2")
        recreate.behaviours["2"].never_ready = True
        recreate.run_until("RollingBack", 140)
        recreate.run_until("Stable", 30)
        assert (recreate.version("stable"), recreate.ready(old)) == ("1", 2)
        assert revision not in recreate.pods
        assert recreate.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"

    def test_a_model_that_cannot_be_loaded_goes_back_at_once(
        self, recreate: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import dataclasses

        from haldane.plan.observed import Problem

        revision = recreate.deploy("2")
        recreate.behaviours["2"].never_ready = True
        observe = recreate.observe

        def hopeless() -> Any:
            seen = observe()
            broken = Problem("ChecksumMismatch", "another model", crashed=True)
            pods = {
                r: dataclasses.replace(p, problem=broken if r == revision else None) for r, p in seen.revisions.items()
            }
            return dataclasses.replace(seen, revisions=pods)

        monkeypatch.setattr(recreate, "observe", hopeless)
        recreate.run_until("RollingBack", 15)
        recreate.run_until("Stable", 15)
        assert recreate.version("stable") == "1"

    def test_a_failure_in_the_watch_goes_back_by_the_same_way(self, recreate: Any) -> None:
        old, revision = recreate.serving, recreate.deploy("2")
        recreate.behaviours["2"].error_rate = 0.5
        recreate.run_until("RollingBack", 60)
        most = 0
        for _ in range(30):
            recreate.run(1)
            most = max(most, sum(pods.present for pods in recreate.observe().revisions.values()))
        assert most == 2
        assert (recreate.phase, recreate.serving, recreate.ready(old)) == ("Stable", old, 2)
        assert recreate.status["rejected"][0]["revision"] == revision

    def test_a_newer_spec_does_not_bring_the_old_pods_back_in_between(self, recreate: Any) -> None:
        old = recreate.serving
        recreate.deploy("2")
        recreate.behaviours["2"].starts_in = 60
        recreate.run(10)
        recreate.deploy("3")
        for _ in range(30):
            recreate.run(1)
            assert recreate.ready(old) == 0
        assert recreate.version("stable") == "3"
        assert "Superseded" in [h["outcome"] for h in recreate.status["history"]]

    def test_spec_set_back_brings_the_old_pods_back(self, recreate: Any) -> None:
        old = recreate.serving
        recreate.deploy("2")
        recreate.behaviours["2"].starts_in = 60
        recreate.run(10)
        recreate.deploy("1")
        recreate.run_until("Stable", 20)
        assert recreate.ready(old) == 2
        assert recreate.status.get("rejected", []) == []

    def test_once_begun_it_is_not_paused_without_anything_that_serves(self, recreate: Any) -> None:
        recreate.deploy("2")
        recreate.run(2)
        recreate.annotations["haldane.dev/pause"] = "true"
        recreate.run_until("Watching", 30)

    def test_promote_has_nothing_to_skip(self, recreate: Any) -> None:
        recreate.deploy("2")
        recreate.run(2)
        recreate.annotations["haldane.dev/promote"] = "now"
        recreate.run_until("Watching", 30)
        assert "NothingToPromote" in reasons(recreate)

    def test_an_edit_of_the_strategy_is_for_the_next_rollout(self, recreate: Any) -> None:
        recreate.deploy("2")
        recreate.run(2)
        recreate.spec["rollout"]["strategy"] = "Canary"
        recreate.run_until("Stable", 90)
        assert recreate.weights == [0]
        recreate.deploy("3")
        recreate.run(40)
        assert 1 in recreate.weights
        recreate.spec["rollout"]["strategy"] = "Recreate"
        recreate.run(40)
        assert recreate.status["candidate"]["version"] == "3"
        assert recreate.ready(recreate.serving) == 2
