"""Whatever happens on the way: the invariants hold, and a world that behaves leads to rest."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ACTIONS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 60)),
    st.tuples(st.just("deploy"), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("errors"), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("slow"), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("crash"), st.sampled_from(["2", "3"])),
    st.tuples(st.just("heal"), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("lose pods"), st.sampled_from(["candidate", "stable", "previous"])),
    st.tuples(st.just("prometheus"), st.booleans()),
    st.tuples(st.just("rate"), st.sampled_from([0, 3, 200])),
    st.tuples(st.just("scale"), st.integers(1, 6)),
    st.tuples(st.just("retry"), st.sampled_from(["a", "b"])),
)


def act(world: Any, action: str, value: Any) -> None:
    if action == "run":
        world.run(value)
    elif action == "deploy":
        world.deploy(value)
    elif action == "lose pods":
        role = world.status.get(value)
        if role:
            world.pods.pop(role["revision"], None)
    elif action == "prometheus":
        world.prometheus_down = None if value else "connection refused"
    elif action == "rate":
        world.rate = value
    elif action == "scale":
        world.spec["scaling"]["minReplicas"] = value
    elif action == "retry":
        world.annotations["haldane.dev/retry"] = value
    elif value in world.behaviours:
        behaviour = world.behaviours[value]
        behaviour.error_rate = 1.0 if action == "errors" else 0.0
        behaviour.latency = 0.3 if action == "slow" else 0.008
        behaviour.crashed = action == "crash"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=15))
def test_a_world_that_behaves_again_leads_to_rest(world: Any, actions: list[tuple[str, Any]]) -> None:
    world = copy.deepcopy(world)
    for action, value in actions:
        act(world, action, value)
    for behaviour in world.behaviours.values():
        behaviour.error_rate, behaviour.latency, behaviour.crashed = 0.0, 0.008, False
    world.prometheus_down, world.rate = None, 200
    final = world.deploy("9")
    world.run(900, lambda w: w.phase == "Stable" and w.serving == final)
    assert (world.phase, world.serving) == ("Stable", final), world.status["rollout"]["message"]
    before = world.status
    world.run(5)
    assert world.status == before, "at rest nothing is written"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 120), st.sampled_from(["errors", "slow", "crash"]))
def test_a_bad_version_never_survives_whenever_it_turns_bad(world: Any, second: int, how: str) -> None:
    world = copy.deepcopy(world)
    world.spec["rollout"]["watchAfterPromotion"] = "5m"
    world.spec["rollout"]["keepStableFor"] = "5m"
    old = world.serving
    world.deploy("2")
    world.run(second)
    act(world, how, "2")
    world.run(300, lambda w: w.phase == "Stable")
    assert (world.phase, world.serving) == ("Stable", old)


@pytest.mark.parametrize("seed", range(3))
def test_forgetting_nothing_but_status_changes_nothing(world: Any, seed: int) -> None:
    """The engine keeps no state of its own: a status that goes through JSON at every pass gives the same course."""
    import json

    other = copy.deepcopy(world)
    for each in (world, other):
        each.deploy("2")
    for _ in range(150 + seed):
        world.run(1)
        other.status = json.loads(json.dumps(other.status))
        other.run(1)
        assert world.status == other.status
