"""A stable revision without pods answers nothing and can be compared with nothing: a good version must get past it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from haldane.api.rollout import ErrorRate, Query
from haldane.api.status import CheckStatus
from haldane.plan.clock import Instant, in_time
from haldane.plan.looks import Look
from haldane.plan.observed import Answer, Series
from haldane.plan.samples import Requests
from haldane.plan.stand_alone import LONG_ENOUGH, NOT_COMPARED
from haldane.plan.verdicts import Trial, judge_error_rate, judge_query

RELATIVE = [
    {"name": "errors", "errorRate": {"maxIncrease": "0.1%", "abort": "20%"}},
    {"name": "p99", "latency": {"maxIncrease": "10%"}},
    {"name": "mean", "query": {"promql": "mean{{revision}}[{{window}}]", "maxIncrease": "10%"}},
    {"name": "declined", "proportion": {"hits": "declined{{revision}}[{{window}}]", "maxIncrease": "1%"}},
]


def checks(world: Any) -> dict[str, CheckStatus]:
    return {check.name: check for check in world.md.status.rollout.checks}


def events(world: Any, reason: str) -> list[str]:
    return [event.message for event in world.events if event.reason == reason]


@pytest.fixture
def relative(world: Any) -> Any:
    """Version 1 serves; every check of the next one compares with it."""
    own = world.answer

    def answer(promql: str, *ago: timedelta) -> Answer:
        if "haldane_" in promql:
            return tuple(own(promql, *ago))
        is_known = any(revision in promql and world.ready(revision) for revision in world.pods)
        return (Series({}, 0.0 if "declined" in promql else 0.2),) if is_known else ()

    world.answer = answer
    world.spec["rollout"]["checks"] = RELATIVE
    return world


@pytest.mark.parametrize("routed", [True, False], ids=["route", "pods"])
@pytest.mark.parametrize("how", ["hangs", "crashed", "never_ready"])
def test_a_good_version_replaces_a_stable_that_has_no_pods(relative: Any, how: str, routed: bool) -> None:
    if not routed:
        del relative.spec["traffic"]
    setattr(relative.behaviours["1"], how, True)
    relative.deploy("2")
    relative.run(100, lambda w: w.route_weight == 50)
    assert relative.phase == "Progressing", relative.status["rollout"]["message"]
    relative.run(24)
    assert all(check.message.endswith(NOT_COMPARED) for check in checks(relative).values()), checks(relative)
    relative.run_until("Watching", 120)
    relative.run_until("Stable", 120)
    assert (relative.version("stable"), relative.status["rejected"]) == ("2", [])
    assert "by absolute limits alone, as no pod of version 1 was ready" in relative.status["history"][-1]["message"]
    assert "version 2 goes on without comparison" in events(relative, "StableUnavailable")[0]


def test_an_absolute_limit_stands_without_stable(relative: Any) -> None:
    relative.behaviours["1"].hangs = True
    relative.deploy("2")
    relative.behaviours["2"].error_rate = 0.4
    relative.run_until("RollingBack", 300)
    assert relative.version("previous") == "1", "it is waited for"
    assert "beyond the abort limit 20%" in checks(relative)["errors"].message
    relative.run_until("Stable", 300)
    assert [entry["reason"] for entry in relative.status["rejected"]] == ["CheckFailed"]


def test_a_short_loss_of_stables_pods_waives_nothing(relative: Any) -> None:
    relative.deploy("2")
    relative.run_until("Progressing")
    relative.behaviours["1"].hangs = True
    relative.run(int(LONG_ENOUGH.total_seconds()) - 2)
    assert "waiting until the observed share is near 5%" in relative.status["rollout"]["message"]
    relative.behaviours["1"].hangs = False
    relative.run_until("Stable", 300)
    assert relative.version("stable") == "2"
    assert events(relative, "StableUnavailable") == []
    assert "absolute limits" not in relative.status["history"][-1]["message"]
    assert "stableLostAt" not in relative.status["rollout"]


def test_it_is_compared_again_when_stable_is_back(relative: Any) -> None:
    relative.spec["rollout"]["steps"] = [{"weight": 50, "hold": "90s"}]
    relative.behaviours["1"].hangs = True
    relative.deploy("2")
    relative.run(70)
    assert checks(relative)["errors"].message.endswith(NOT_COMPARED)
    relative.behaviours["1"].hangs = False
    relative.behaviours["2"].error_rate = 0.15
    relative.run_until("RollingBack", 60)
    assert "beyond stable's" in relative.status["rejected"][0]["message"]


def test_what_stable_has_answered_in_the_step_is_compared_with_though_it_is_gone(relative: Any) -> None:
    relative.spec["rollout"]["steps"] = [{"weight": 50, "hold": "2m"}]
    relative.deploy("2")
    relative.run(40)
    relative.behaviours["1"].hangs = True
    relative.run(50)
    found = checks(relative)
    assert NOT_COMPARED not in found["errors"].message + found["p99"].message
    assert NOT_COMPARED in found["mean"].message, "it gives nothing of stable now"
    assert {check.verdict for check in found.values()} == {"Pass"}


def test_pods_that_a_recreate_takes_away_are_not_lost(world: Any) -> None:
    world.spec["rollout"]["strategy"] = "Recreate"
    world.behaviours["1"].hangs = True
    world.deploy("2")
    world.run(100, lambda w: "stableLostAt" in w.status["rollout"] or w.phase == "Watching")
    assert world.phase == "Watching"


@pytest.mark.parametrize(
    ("check", "is_alone", "verdict", "words"),
    [
        (ErrorRate(max_increase="1%"), False, "Inconclusive", "stable answered 0 requests in the same time"),
        (ErrorRate(max_increase="1%"), True, "Pass", f"not shown to be beyond its limit; {NOT_COMPARED}"),
        (ErrorRate(max_increase="1%", max="5%"), True, "Fail", "7% of 1000 requests is beyond the limit 5%"),
        (ErrorRate(max_increase="1%", max="9%"), True, "Pass", NOT_COMPARED),
        (Query(promql="x", max_increase="10%"), False, "Inconclusive", "the query for stable gave no data"),
        (Query(promql="x", max_increase="10%"), True, "Pass", f"0.2 has no limit now; {NOT_COMPARED}"),
        (Query(promql="x", max_increase="10%", max="0.1"), True, "Fail", "0.2 is above the limit 0.1"),
    ],
)
def test_verdicts_without_stable(check: ErrorRate | Query, is_alone: bool, verdict: str, words: str) -> None:
    if isinstance(check, Query):
        judged = judge_query(check, (Series({}, 0.2),), (), 1000, 100, is_alone=is_alone)
    else:
        trial = Trial(Look(2, planned=1), None, 100, is_alone=is_alone)
        judged = judge_error_rate(check, trial, Requests(1000, 70), Requests())
    assert judged.verdict == verdict
    assert words in judged.message


def test_a_loss_is_forgotten_when_stable_is_back(world: Any) -> None:
    world.behaviours["1"].hangs = True
    world.deploy("2")
    world.run(10)
    assert "stableLostAt" in world.status["rollout"]
    world.behaviours["1"].hangs = False
    world.run(2)
    assert "stableLostAt" not in world.status["rollout"]


def test_it_is_told_once_when_stable_is_lost_in_the_middle_of_a_step(relative: Any) -> None:
    relative.spec["rollout"]["steps"] = [{"weight": 50, "hold": "4m"}, {"weight": 60, "hold": "20s"}]
    relative.deploy("2")
    relative.run(40)
    assert relative.status["rollout"].get("stepStartedAt") is not None
    relative.behaviours["1"].hangs = True
    relative.run(int(LONG_ENOUGH.total_seconds()) - 2)
    assert events(relative, "StableUnavailable") == []
    relative.run(10)
    assert len(events(relative, "StableUnavailable")) == 1
    for _ in range(2):  # another operator takes over
        relative.status = in_time(relative.md, Instant(relative.now, 0.0), None).status.to_wire()
        relative.run(40)
    assert len(events(relative, "StableUnavailable")) == 1
    relative.run_until("Promoting", 300)
    assert len(events(relative, "StableUnavailable")) == 1
