"""A pass says what it could have seen: how long a step waits to see more, and what is told of it when the rollout is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest


@pytest.mark.parametrize("choice", ["Hold", "Rollback"])
def test_a_proof_that_stays_poor_is_taken_at_the_deadline_and_not_before(world: Any, choice: str) -> None:
    world.rate = 4
    world.spec["rollout"] |= {"steps": [{"weight": 50, "hold": "20s"}], "progressDeadline": "1m"}
    world.spec["rollout"]["analysis"] |= {"minRequests": 10, "onInconclusive": choice}
    world.deploy("2")
    world.run(300, lambda w: w.status["rollout"].get("stepStartedAt") is not None)
    began = world.md.status.rollout.phase_started_at
    world.run(300, lambda w: w.phase != "Progressing")
    assert world.phase == "Promoting"
    assert timedelta(seconds=80) < world.now - began < timedelta(seconds=90)


def test_a_demand_holds_every_step_and_a_last_step_is_held_until_it_sees_more_than_disasters(world: Any) -> None:
    world.spec["rollout"]["analysis"] |= {"minRequests": 10}
    world.rate = 20
    waits = {}
    for detect in (None, "3x", "1000x"):
        world.spec["rollout"]["analysis"]["detect"] = detect
        world.deploy(f"with-{detect}")
        world.run_until("Progressing")
        begun = world.now
        world.run_until("Promoting")
        waits[detect] = world.now - begun
        world.run_until("Stable")
    assert waits["1000x"] < waits[None] < waits["3x"]
    told = world.status["history"][-3]["message"]
    assert told.startswith("version with-None passed every step; seen 4 times in 5 would have been, at 5%: errors ")
    assert "; at 50%: errors " in told
