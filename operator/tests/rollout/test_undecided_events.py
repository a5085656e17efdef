"""Who watches Events hears once why a rollout has no verdict, and of a rollout that goes well nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.observed import Event, Unavailable
from haldane.plan.strategy import in_effect
from haldane.plan.undecided_events import undecided_events

REFUSED = "connection refused at http://prometheus:9090"


def heard(world: Any, seconds: int, until: Callable[[Any], bool] = lambda world: False) -> list[Event]:
    """What is told in so many seconds. Nothing is kept between two of them, as when the operator is killed after every pass."""
    events: list[Event] = []
    for _ in range(seconds):
        before = in_effect(world.md)
        world.one_pass()
        events += undecided_events(before, world.md.status)
        world.traffic()
        world.now += timedelta(seconds=1)
        if until(world):
            break
    return events


@pytest.fixture
def world(world: Any) -> Any:
    """Version 2 has its first 5 %."""
    world.deploy("2")
    world.run_until("Progressing")
    return world


def phase(name: str) -> Callable[[Any], bool]:
    return lambda world: bool(world.phase == name)


def test_a_good_rollout_is_no_reason_to_call_anybody(world: Any) -> None:
    assert heard(world, 300, phase("Stable")) == []
    assert (world.phase, world.version("stable")) == ("Stable", "2")


@pytest.mark.parametrize("when", ["Progressing", "Watching"])
def test_an_outage_is_told_at_the_first_look_and_once(world: Any, when: str) -> None:
    world.spec["rollout"]["watchAfterPromotion"] = "2m"
    heard(world, 300, phase(when))
    world.prometheus_down = REFUSED
    (told,) = heard(world, 25)
    assert (told.type, told.reason) == ("Warning", "Undecided")
    assert REFUSED in told.message
    assert "Check that Prometheus runs and that the operator's Prometheus address leads to it." in told.message
    consequence = {"Progressing": "undecided checks hold the rollout", "Watching": "undecided checks roll nothing back"}
    assert consequence[when].capitalize() in told.message
    world.prometheus_down = None
    heard(world, 20)
    world.prometheus_down = REFUSED
    (again,) = heard(world, 8)
    assert again.topic == told.topic, "the recorder does not send the same one twice within minutes"


def test_another_reason_is_told_and_another_figure_is_not(world: Any) -> None:
    world.prometheus_down = "timed out after 8.0 s"
    assert len(heard(world, 12)) == 1
    world.prometheus_down = "timed out after 7.9 s"
    assert heard(world, 12) == []
    world.prometheus_down = "it does not let the operator in"
    assert len(heard(world, 12)) == 1


def test_no_requests_are_told_when_a_whole_window_has_passed_without(world: Any) -> None:
    world.rate = 0
    world.counts.clear()
    assert heard(world, 20) == []
    (told,) = heard(world, 100)
    assert "no requests arrive" in told.message
    assert "Send more requests, or lower spec.rollout.analysis.minRequests." in told.message


def test_few_requests_are_told_when_they_hold_the_step_or_will_not_come(world: Any) -> None:
    world.spec["rollout"]["analysis"]["minRequests"] = 300
    (told,) = heard(world, 60, lambda w: w.status["rollout"]["weight"] == 50)
    assert "requests so far; 300 are needed" in told.message
    assert "Undecided checks hold the rollout" in told.message
    assert "before the step's deadline" not in told.message


def test_requests_that_come_in_time_are_not_told(world: Any) -> None:
    world.spec["rollout"]["analysis"]["minRequests"] = 300
    world.spec["rollout"]["steps"][0]["hold"] = "60s"
    assert heard(world, 100, lambda w: w.status["rollout"]["weight"] == 50) == []
    assert world.status["rollout"]["weight"] == 50


def test_requests_that_cannot_come_before_the_deadline_are_told_in_the_hold(world: Any) -> None:
    world.spec["rollout"]["analysis"]["minRequests"] = 30_000
    world.spec["rollout"]["steps"][0]["hold"] = "10m"
    (told,) = heard(world, 120)
    assert "will not have come before the step's deadline" in told.message


def test_few_requests_in_the_watch(world: Any) -> None:
    world.spec["rollout"]["watchAfterPromotion"] = "2m"
    heard(world, 300, phase("Watching"))
    world.spec["rollout"]["analysis"]["minRequests"] = 1_000_000
    (told,) = heard(world, 60)
    assert told.message.startswith("Version 2 serves; watching it. Checks errors, p99 are undecided:")


def test_a_query_that_gives_nothing_is_told_though_requests_come(world: Any) -> None:
    answered = world.answer
    world.spec["rollout"]["steps"][0]["hold"] = "5m"
    world.spec["rollout"]["checks"].append({"name": "drift", "query": {"promql": "score[1s]", "max": "0.2"}})
    world.answer = lambda promql, ago: () if promql.startswith("score") else answered(promql, ago)
    (told,) = heard(world, 100)
    assert "Check drift is undecided: the query gave no data" in told.message


def test_a_share_that_does_not_come_is_told_without_any_check(world: Any) -> None:
    world.spec["rollout"]["checks"] = []
    answered = world.answer
    candidate = world.status["candidate"]["revision"]
    world.answer = lambda promql, ago: tuple(
        series for series in answered(promql, ago) if series.labels["revision"] != candidate
    )
    (told,) = heard(world, 60)
    assert "waiting until the observed share is near 5%" in told.message
    assert "the step's hold begins when the candidate has its share".capitalize() in told.message


def test_a_window_of_less_than_two_scrapes_is_told(world: Any) -> None:
    answered = world.answer
    world.answer = lambda promql, ago: answered(promql, ago) if re.search(r"\[[6-9][0-9]s\]", promql) else ()
    _, told = heard(world, 80)
    assert "raise spec.rollout.analysis.window to several times its scrape interval" in told.message


def test_a_step_that_a_person_decides_is_not_held(world: Any) -> None:
    world.spec["rollout"]["steps"][0] = {"weight": 0, "hold": "20s", "approval": True}
    world.prometheus_down = REFUSED
    assert heard(world, 100) == []


def test_queries_of_one_check_that_fail(world: Any) -> None:
    answered = world.answer
    world.spec["rollout"]["checks"].append({"name": "drift", "query": {"promql": "score[1s]", "max": "0.2"}})
    world.answer = lambda promql, ago: (
        Unavailable("parse error") if promql.startswith("score") else answered(promql, ago)
    )
    (told,) = heard(world, 12)
    assert "Check drift is undecided: the query gave no answer: parse error." in told.message
