"""A pass says what it could have seen: how long a step waits to see more, and what is told of it when the rollout is over."""

from __future__ import annotations

import re
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


def test_a_step_that_waits_for_more_requests_says_how_long_that_takes(world: Any) -> None:
    world.spec["rollout"] |= {"steps": [{"weight": 50, "hold": "20s"}], "progressDeadline": "1h"}
    world.spec["rollout"]["analysis"] |= {"minRequests": 10, "detect": "1.5x"}
    world.rate = 20
    world.deploy("2")
    world.run(60, lambda w: " min as they come" in w.status["rollout"]["message"])
    said = re.search(r"more requests will tell, in about (\d+) min as they come", world.status["rollout"]["message"])
    assert said, world.status["rollout"]["message"]
    begun = world.now
    world.run_until("Promoting", 3600)
    minutes = (world.now - begun) / timedelta(minutes=1)
    assert 0.8 * minutes - 1 <= int(said[1]) <= 1.25 * minutes + 1


@pytest.mark.parametrize(("detect", "words"), [("1.5x", "min more to be seen"), ("1.0x", "far longer to be seen")])
def test_a_demand_that_the_deadline_ends_says_so(world: Any, detect: str, words: str) -> None:
    world.spec["rollout"] |= {"steps": [{"weight": 50, "hold": "20s"}], "progressDeadline": "1m"}
    world.spec["rollout"]["analysis"] |= {"minRequests": 10, "detect": detect}
    world.rate = 4
    world.deploy("2")
    world.run(60, lambda w: "takes" in w.status["rollout"]["message"])
    message = world.status["rollout"]["message"]
    assert f"{float(detect[:-1]):g} times the limit takes" in message
    assert words in message
    assert "the step's deadline in 1 min ends the wait: raise its weight or its hold" in message
    world.run_until("Promoting", 120)
