"""From when a step's hold counts, and what its end rests on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.arrival import PROMPTLY


def held(world: Any) -> bool:
    return world.md.status.rollout.step_started_at is not None


@pytest.mark.parametrize(("silent", "is_prompt"), [(0, True), (4, True), (15, False), (40, False)])
def test_a_hold_counts_from_the_change_of_the_weight_when_its_share_is_seen_promptly(
    world: Any, silent: int, is_prompt: bool
) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.prometheus_down = "connection refused"
    world.run(silent)
    world.prometheus_down = None
    world.run(30, held)
    rollout = world.md.status.rollout
    began = rollout.step_started_at - rollout.weight_changed_at
    assert (began == timedelta(0)) is is_prompt
    assert is_prompt or began > PROMPTLY


def test_a_hold_does_not_count_from_before_the_first_requests(world: Any) -> None:
    world.deploy("2")
    world.run_until("Preparing")
    world.rate = 0
    world.run_until("Progressing")
    world.run(40)
    assert not held(world)
    came, world.rate = world.now, 200
    world.run(60, held)
    assert world.md.status.rollout.step_started_at > came


def test_an_outage_at_the_end_of_the_hold_leaves_the_step_undecided(world: Any) -> None:
    world.deploy("2")
    world.run(60, held)
    ends = world.md.status.rollout.step_started_at + timedelta(seconds=20)
    # The last look before it has passed, less than an interval ago.
    world.run(60, lambda w: w.now > ends - timedelta(seconds=1))
    assert [check.verdict for check in world.md.status.rollout.checks] == ["Pass", "Pass"]
    world.prometheus_down = "connection refused"
    world.run(20)
    assert (world.phase, world.status["rollout"]["weight"], world.status["rollout"]["step"]) == ("Progressing", 5, 0)
    world.prometheus_down = None
    world.run_until("Watching")
