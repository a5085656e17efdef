"""Pods that the API server cannot reach: what a user reads, from the first try to the deadline and beyond."""

from __future__ import annotations

from typing import Any

import pytest

from haldane.api.status import ModelDeploymentStatus
from haldane.control.gates import METADATA_SECONDS, read_reply
from haldane.control.ports import Reply
from haldane.plan.status import compose

from . import asked
from .world import Behaviour

NO_ROUTE = Reply(0, seconds=METADATA_SECONDS, problem="no answer within 5 s", is_cut_off=True)
ACTION = "where the API server cannot reach pods, set gates.enabled: false in the chart's values"
COULD_NOT = f"version 2 could not be asked: no answer within 5 s; {ACTION}"


@pytest.fixture
def unreachable(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No route leads from the API server to the pods, which are ready nevertheless."""
    monkeypatch.setattr(asked, "_told", lambda behaviour: read_reply(NO_ROUTE))
    world.gates = True
    world.spec["rollout"]["progressDeadline"] = "1m"
    world.behaviours["2"] = Behaviour()
    return world


def condition(world: Any, kind: str) -> Any:
    status = ModelDeploymentStatus.model_validate(world.status)
    found = compose(world.md, status, world.observe(), world.now).conditions
    return next(each for each in found if each.type == kind)


@pytest.mark.parametrize(
    ("strategy", "choice", "end"),
    [
        ("Canary", "Hold", "it is asked again and again, after {at} UTC too; haldane promote goes on without"),
        ("Canary", "Rollback", "it is rolled back at {at} UTC (onInconclusive: Rollback)"),
        ("Canary", "Promote", "it goes on without at {at} UTC (onInconclusive: Promote)"),
        ("BlueGreen", "Rollback", "it is rolled back at {at} UTC (onInconclusive: Rollback)"),
    ],
)
def test_one_sentence_names_the_cause_the_chart_value_and_what_comes(
    unreachable: Any, strategy: str, choice: str, end: str
) -> None:
    unreachable.spec["rollout"]["strategy"] = strategy
    unreachable.spec["rollout"]["analysis"]["onInconclusive"] = choice
    unreachable.behaviours["1"].classes = 0
    unreachable.deploy("2")
    began = unreachable.now
    unreachable.run(25)
    at = began.replace(minute=began.minute + 1)
    text = f"weight 0%: {COULD_NOT}; {end.format(at=f'{at:%H:%M:%S}')}"
    assert unreachable.status["rollout"]["message"] == text
    reconciling = condition(unreachable, "Reconciling")
    assert reconciling.status == "True"
    assert reconciling.message == f"{text[0].upper()}{text[1:]}. Version 1 serves with 2 ready pods."
    unreachable.run(60)
    phase = {"Hold": "Preparing", "Rollback": "Stable", "Promote": "Progressing"}[choice]
    assert unreachable.phase == phase
    if choice == "Hold":
        held = f"weight 0%: {COULD_NOT}; it is asked again and again, and haldane promote goes on without"
        assert unreachable.status["rollout"]["message"] == held


def test_a_recreate_does_not_begin_and_says_what_to_do(unreachable: Any) -> None:
    unreachable.spec["rollout"]["strategy"] = "Recreate"
    unreachable.deploy("2")
    unreachable.run(25)
    assert unreachable.ready(unreachable.serving) == 2
    assert ACTION in unreachable.status["rollout"]["message"]
    assert "with rollout.allowSignatureChange: true it begins without" in unreachable.status["rollout"]["message"]


def test_a_person_who_promotes_is_told_when_it_goes_on(unreachable: Any) -> None:
    unreachable.deploy("2")
    unreachable.run(5)
    unreachable.annotations["haldane.dev/promote"] = "now"
    unreachable.run(5)
    assert "it goes on without at 00:0" in unreachable.status["rollout"]["message"]
    assert "(haldane promote)" in unreachable.status["rollout"]["message"]
    unreachable.run_until("Watching", 60)
