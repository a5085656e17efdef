"""When planned looks are due, and what all looks together may spend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.looks import (
    DECISIVE_LOOK,
    EVERY_LOOK,
    PLANNED_LOOK,
    SUDDEN_FAULT,
    Look,
    hold_ends,
    look_at,
    planned_chance,
)


def test_the_chances_of_all_looks_stay_within_what_is_promised() -> None:
    sudden = sum(Look(number).sudden_level for number in range(1, 100_000))
    planned = sum(Look(1, planned).planned_part(planned - 1) for planned in range(1, 60))
    assert sudden <= SUDDEN_FAULT
    assert planned <= 2
    assert pytest.approx(0.095) == EVERY_LOOK + DECISIVE_LOOK + SUDDEN_FAULT
    assert pytest.approx(0.025) == EVERY_LOOK + PLANNED_LOOK + SUDDEN_FAULT


@pytest.mark.parametrize(
    ("planned", "taken", "part"), [(0, 0, 0.0), (1, 0, 1.0), (1, 1, 0.0), (2, 1, 0.5), (2, 2, 0.0)]
)
def test_a_planned_look_is_taken_once(planned: int, taken: int, part: float) -> None:
    assert Look(1, planned).planned_part(taken) == part


@pytest.mark.parametrize(
    ("requests", "rise", "max_"), [(100, 0.01, 0.01), (2100, 0.08, 0.02), (2850, 0.08, 0.02), (10**4, 0.01, 0.01)]
)
def test_a_look_spends_more_only_where_that_shows_a_doubling(requests: int, rise: float, max_: float) -> None:
    assert planned_chance(requests, 0.011, True) == rise
    assert planned_chance(requests, 0.011, False) == max_


@pytest.mark.parametrize(
    ("seconds", "number", "planned"), [(0, 1, 0), (19, 4, 0), (20, 4, 1), (39, 8, 1), (40, 8, 2), (80, 16, 3)]
)
def test_planned_looks_come_at_the_end_of_the_hold_and_ever_more_rarely(
    world: Any, seconds: int, number: int, planned: int
) -> None:
    begun = world.now
    world.status["rollout"] |= {"phase": "Progressing", "step": 0, "stepStartedAt": begun.isoformat()}
    look = look_at(world.md, timedelta(seconds=max(1, seconds)), begun + timedelta(seconds=seconds))
    assert (look.number, look.planned) == (number, planned)
    assert hold_ends(world.md) == begun + timedelta(seconds=20)


def test_without_a_hold_there_is_no_planned_look(world: Any) -> None:
    assert hold_ends(world.md) is None
    assert look_at(world.md, timedelta(seconds=1000), world.now).planned == 0


@pytest.mark.parametrize(
    ("requests", "earlier", "chance"),
    [
        (2850, 0.0, 0.08),
        (2850, 0.2, 0.08),
        (2850, 0.75, 0.01),
        (2850, 4.0, 0.01),
        (100, 0.75, 0.01),
        (10**4, 0.3, 0.01),
    ],
)
def test_a_step_after_one_that_could_see_a_doubling_spends_less(requests: int, earlier: float, chance: float) -> None:
    assert planned_chance(requests, 0.011, True, earlier) == chance


@pytest.mark.parametrize(
    ("step", "counted", "alone", "beside"),
    [
        (0, 15, 0.0, 0.0),
        (1, 15, 0.1, 0.19),
        (1, 30, 0.05, 0.095),
    ],
)
def test_a_look_knows_what_the_steps_before_it_had(
    world: Any, step: int, counted: int, alone: float, beside: float
) -> None:
    world.status["rollout"] |= {"phase": "Progressing", "step": step, "stepStartedAt": world.now.isoformat()}
    look = look_at(world.md, timedelta(seconds=counted), world.now)
    assert [look.earlier, look.earlier_beside] == pytest.approx([alone, beside])
    assert look.is_last is (step == 1)


def test_without_a_step_nothing_was_before(world: Any) -> None:
    world.status["rollout"] |= {"phase": "Watching"}
    assert look_at(world.md, timedelta(seconds=15), world.now) == Look(3)


@pytest.mark.parametrize(
    ("warmup", "counted", "later", "held"), [("0s", 20, 0, 1.0), ("0s", 40, 20, 0.5), ("10s", 40, 30, 0.25)]
)
def test_a_look_knows_which_part_of_the_requests_came_within_the_hold(
    world: Any, warmup: str, counted: int, later: int, held: float
) -> None:
    begun = world.now
    world.spec["rollout"]["analysis"] |= {"warmup": warmup}
    world.status["rollout"] |= {"phase": "Progressing", "step": 1, "stepStartedAt": begun.isoformat()}
    look = look_at(world.md, timedelta(seconds=counted), begun + timedelta(seconds=20 + later))
    assert look.planned
    assert look.held == pytest.approx(held)
