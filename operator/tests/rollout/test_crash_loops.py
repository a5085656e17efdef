"""Pods that crash again and again end their version's rollout, though others of it are ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.observed import Crash, Observed, Problem, RevisionPods

OOM = Problem("OOMKilled", "container runtime needs more memory than its limit", crashed=True)


def changed(world: Any, version: str, change: Callable[[RevisionPods], RevisionPods]) -> None:
    """From now on the pods of a version are seen changed."""
    own = world.observe

    def observe() -> Observed:
        seen: Observed = own()
        known = {name: pods for name, pods in seen.revisions.items() if world.versions[name] == version}
        return replace(seen, revisions={**seen.revisions, **{name: change(pods) for name, pods in known.items()}})

    world.observe = observe


def crashing(world: Any, *nodes: str, again: bool) -> Callable[[RevisionPods], RevisionPods]:
    """One of the pods on each node has just crashed, though as many are ready as should be."""
    crashes = tuple(
        Crash(node, world.now, world.now + timedelta(seconds=1), not again, OOM) for node in nodes or ["n1"]
    )
    return lambda pods: replace(pods, crashes=crashes)


@pytest.fixture
def four(world: Any) -> Any:
    """Version 1 serves with four pods, and another is rolled out at 50 %."""
    world.spec["scaling"]["minReplicas"] = 4
    world.run(10)
    world.deploy("2")
    world.run(200, lambda w: w.route_weight == 50)
    world.run(2)
    return world


def test_the_version_is_rejected_with_the_reason_of_its_pods(four: Any) -> None:
    changed(four, "2", crashing(four, again=True))
    four.run(1)
    assert four.phase == "RollingBack"
    rejected = four.status["rejected"][0]
    assert (rejected["reason"], OOM.message in rejected["message"]) == ("CandidateCrashed", True)


def test_one_crash_of_one_pod_is_no_reason(four: Any) -> None:
    changed(four, "2", crashing(four, again=False))
    four.run_until("Watching", 200)


def test_what_crashes_stable_as_well_is_not_held_against_the_candidate(four: Any) -> None:
    changed(four, "2", crashing(four, again=True))
    changed(four, "1", crashing(four, again=True))
    four.run_until("Watching", 200)


def test_the_promoted_version_goes_back_while_it_is_watched(four: Any) -> None:
    four.run_until("Watching", 200)
    four.run(2)
    changed(four, "2", crashing(four, "n1", "n2", again=True))
    four.run(2)
    assert (four.version("stable"), four.status["rejected"][0]["reason"]) == ("1", "CandidateCrashed")


def test_one_broken_node_does_not_undo_a_promotion(four: Any) -> None:
    four.run_until("Watching", 200)
    four.run(2)
    changed(four, "2", crashing(four, again=True))
    four.run_until("Stable", 60)
    assert (four.version("stable"), four.status.get("rejected", [])) == ("2", [])


def test_a_step_is_not_passed_by_fewer_pods_than_its_weight_needs(four: Any) -> None:
    changed(four, "2", lambda pods: replace(pods, ready=1, problem=Problem("Unschedulable", "no node takes the pod")))
    four.run(120)
    assert four.status["rollout"]["weight"] == 50
    assert four.status["rollout"]["message"] == "weight 50%: holding, 1 of 2 pods are ready"


def test_at_the_deadline_of_the_step_on_inconclusive_decides(four: Any) -> None:
    four.spec["rollout"]["analysis"]["onInconclusive"] = "Rollback"
    changed(four, "2", lambda pods: replace(pods, ready=1, problem=Problem("Unschedulable", "no node takes the pod")))
    four.run_until("RollingBack", 200)
    assert "1 of 2 pods are ready: no node takes the pod" in four.status["rejected"][0]["message"]
