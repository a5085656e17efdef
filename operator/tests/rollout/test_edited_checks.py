"""A verdict belongs to the check that was judged, not to its name: one that is edited while it is asked begins anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.analysis import unjudged
from haldane.plan.evidence import Evidence, is_of
from haldane.plan.nobody import NOBODY
from haldane.plan.observed import Series, Unavailable

FOO: dict[str, Any] = {"name": "c", "query": {"promql": "foo{{revision}}[{{window}}]", "max": "0.3"}}
BAR: dict[str, Any] = {"name": "c", "query": {"promql": "bar{{revision}}[{{window}}]", "max": "0.3"}}


@pytest.fixture
def asked(world: Any) -> Any:
    """A world whose queries `foo` and `bar` give what is in `values`; None: no answer. They know nothing of nobody."""
    own, world.values = world.answer, {"foo": 0.5, "bar": 0.5}

    def answer(promql: str, ago: timedelta = timedelta(0)) -> Any:
        name = next((name for name in world.values if name in promql), None)
        if name is None:
            return own(promql, ago)
        if NOBODY in promql:
            return ()
        value = world.values[name]
        return Unavailable("connection refused") if value is None else (Series({}, value),)

    world.answer = answer
    return world


def check(world: Any) -> Any:
    """What status says of the one check."""
    return next(iter(world.status["rollout"]["checks"]), {})


def failing(world: Any, times: int, spec: Any = FOO) -> Any:
    """A rollout whose one check has failed so often."""
    world.spec["rollout"]["checks"] = [spec]
    world.deploy("2")
    world.run(200, lambda w: check(w).get("failures") == times and check(w)["verdict"] == "Fail")
    assert world.phase == "Progressing"
    return world


def failing_without_stable(world: Any) -> None:
    """A rollout whose one check fails while stable has no ready pod to go back to."""
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "1%"}}]
    world.deploy("2")
    world.run_until("Progressing")
    world.run(3)
    world.behaviours["1"].hangs = True
    world.behaviours["2"].error_rate = 0.05
    world.run(30, lambda w: check(w).get("verdict") == "Fail")
    assert check(world)["verdict"] == "Fail"


def test_a_check_of_another_kind_inherits_no_failure(asked: Any) -> None:
    failing(asked, 1)
    asked.values["bar"] = 0.0
    hits = "sum(increase(bar{revision='{{revision}}'}[{{window}}]))"
    asked.spec["rollout"]["checks"] = [{"name": "c", "proportion": {"hits": hits, "max": "5%"}}]
    asked.run_until("Watching")


@pytest.mark.parametrize("edited", [BAR, {"name": "c", "query": {**FOO["query"], "max": "0.4"}}])
def test_failures_of_a_query_do_not_count_against_the_next(asked: Any, edited: Any) -> None:
    failing(asked, 2)
    asked.spec["rollout"]["checks"] = [edited]
    asked.run(9)
    assert (asked.phase, check(asked)["failures"]) == ("Progressing", 2)
    asked.run_until("RollingBack", 10)


def test_a_raised_limit_lifts_a_fail_that_could_not_be_acted_upon(world: Any) -> None:
    failing_without_stable(world)
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "20%"}}]
    world.run(6)
    assert check(world)["verdict"] != "Fail"
    world.behaviours["1"].hangs = False
    world.run_until("Watching")


def test_a_fail_that_could_not_be_acted_upon_stays_shown(world: Any) -> None:
    failing_without_stable(world)
    world.behaviours["2"].error_rate = 0.0
    world.behaviours["1"].hangs = False
    world.run_until("RollingBack", 15)


def test_no_step_passes_by_the_verdict_of_the_check_before_the_edit(asked: Any) -> None:
    asked.spec["rollout"]["steps"][0]["approval"] = True
    asked.spec["rollout"]["checks"] = [{"name": "c", "query": {**FOO["query"], "max": "0.9"}}]
    asked.deploy("2")
    asked.run(120, lambda w: "approval" in w.status["rollout"]["message"])
    asked.run(4)
    asked.annotations["haldane.dev/approve"] = "yes"
    asked.spec["rollout"]["checks"] = [FOO]
    asked.run_until("RollingBack", 30)
    assert asked.weights == [0, 5, 0]


def test_the_counts_outlive_an_edited_limit_and_the_planned_look_is_taken_anew(world: Any) -> None:
    world.spec["rollout"]["steps"][0]["approval"] = True
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "1%"}}]
    world.deploy("2")
    world.run(120, lambda w: "approval" in w.status["rollout"]["message"])
    before = Evidence.from_text(check(world)["evidence"])
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "2%"}}]
    world.run(10, lambda w: check(w)["limit"] == "2%")
    after = Evidence.from_text(check(world)["evidence"])
    assert before is not None
    assert after is not None
    assert (before.planned, after.planned) == (1, 1)
    assert after.looks == before.looks + 1


def test_the_counts_outlive_an_edit_whose_first_look_could_not_be_judged(world: Any) -> None:
    world.spec["rollout"]["steps"][0]["approval"] = True
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "1%"}}]
    world.deploy("2")
    world.run(120, lambda w: "approval" in w.status["rollout"]["message"])
    before = Evidence.from_text(check(world)["evidence"])
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "2%"}}]
    (judged,) = unjudged(world.md, "no answer", world.now).checks
    assert before is not None
    assert (judged.verdict, Evidence.from_text(judged.evidence)) == ("Inconclusive", replace(before, planned=0))
    assert is_of(judged, world.md.spec.rollout.checks[0])


def test_what_earlier_steps_counted_is_known_to_be_of_the_same_check(world: Any) -> None:
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"max": "1%"}}]
    world.deploy("2")
    world.run(120, lambda w: w.status["rollout"]["weight"] == 50)
    line = check(world)["evidence"]
    evidence = Evidence.from_text(line)
    assert evidence is not None
    assert evidence.earlier_requests
    world.run(8)
    assert check(world)["evidence"].split()[-1] == line.split()[-1]


@pytest.mark.parametrize("outage", [1, 12])
def test_an_outage_between_two_failures_is_no_pass_between(asked: Any, outage: int) -> None:
    failing(asked, 2)
    asked.values["foo"] = None
    asked.run(5 * outage)
    assert (check(asked)["verdict"], check(asked)["failures"]) == ("Inconclusive", 2)
    asked.values["foo"] = 0.5
    asked.run_until("RollingBack", 12)


def test_a_pass_between_two_failures_ends_the_count(asked: Any) -> None:
    asked.spec["rollout"]["steps"][0]["hold"] = "60s"
    failing(asked, 2)
    asked.values["foo"] = 0.1
    asked.run(10, lambda w: check(w)["verdict"] == "Pass")
    asked.values["foo"] = 0.5
    asked.run(8)
    assert (asked.phase, check(asked)["failures"]) == ("Progressing", 1)
