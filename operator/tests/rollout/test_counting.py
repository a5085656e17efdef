"""What the checks of a step are counted on: the whole step, the last window, the end of the hold, the user's own counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from haldane.plan.analysis import judge
from haldane.plan.asking import due_at, queries
from haldane.plan.evidence import Evidence
from haldane.plan.looks import hold_ends
from haldane.plan.observed import Series, Unavailable
from haldane.plan.undecided import undecided


def asked_next(world: Any) -> tuple[datetime, dict[str, str]]:
    """When the next look is due, and what it asks."""
    due = due_at(world.md, world.now)
    assert due is not None
    return due, queries(world.md, due)


def look(world: Any, changes: dict[str, Any] | None = None) -> Any:
    """The analysis of the next look, with some of Prometheus' answers replaced."""
    due, asked = asked_next(world)
    answers = {key: world.answer(promql) for key, promql in asked.items()}
    return judge(world.md, {**answers, **(changes or {})}, due)


def begun(world: Any, seconds: int = 12) -> Any:
    """Under way at the first weight; the world knows no queries but the engine's own."""
    own = world.answer
    world.answer = lambda promql, *ago: own(promql, *ago) if "haldane_" in promql else ()
    world.deploy("2")
    world.run_until("Progressing")
    return world.run(seconds)


def test_limits_are_tested_on_the_whole_step_and_sudden_faults_on_the_last_window(world: Any) -> None:
    world.spec["rollout"]["steps"] = [{"weight": 5, "hold": "10m"}]
    begun(world, 60)
    _, asked = asked_next(world)
    spans = {key: promql.split("[")[1].split("]")[0] for key, promql in asked.items()}
    assert spans["recent"] == spans["durations/recent"] == "20s"
    assert spans["requests"] == spans["durations"]
    assert int(spans["requests"][:-1]) >= 50


def test_the_end_of_the_hold_is_looked_at_whatever_the_interval(world: Any) -> None:
    world.spec["rollout"]["analysis"] |= {"interval": "7s", "window": "21s"}
    begun(world)
    world.run(30, lambda w: hold_ends(w.md) is not None)
    ends = hold_ends(world.md)
    assert ends is not None
    world.run(30, lambda w: w.now >= ends - timedelta(seconds=1))
    assert due_at(world.md, world.now) == ends
    world.run(2)
    assert world.md.status.rollout.checked_at >= ends


def test_the_planned_look_is_counted_in_status_and_not_taken_again(world: Any) -> None:
    world.spec["rollout"]["analysis"]["onInconclusive"] = "Hold"
    world.spec["rollout"]["checks"].append({"name": "never", "query": {"promql": "x", "max": "1"}})
    begun(world, 40)
    evidence = [Evidence.from_text(check["evidence"]) for check in world.status["rollout"]["checks"][:2]]
    assert [each and each.planned for each in evidence] == [1, 1]
    assert Evidence.from_text(world.status["rollout"]["checks"][2]["evidence"]) is None


def test_what_was_shown_once_stays_shown(world: Any) -> None:
    begun(world)
    checks = world.status["rollout"]["checks"]
    checks[0] |= {"verdict": "Fail", "failures": 1, "message": "shown"}
    analysis = look(world)
    assert (analysis.checks[0].verdict, analysis.checks[0].failures) == ("Fail", 2)
    assert analysis.failed(world.md).name == checks[0]["name"]


def test_an_outage_leaves_the_evidence_as_it_was(world: Any) -> None:
    begun(world, 18)
    before = world.status["rollout"]["checks"][0]["evidence"]
    down = Unavailable("connection refused")
    analysis = look(world, {"recent": down, "requests": down, "durations": down})
    assert analysis.checks[0].verdict == "Inconclusive"
    assert analysis.checks[0].evidence == before


def counted_so_far(world: Any) -> Evidence:
    evidence = Evidence.from_text(world.status["rollout"]["checks"][0]["evidence"])
    assert evidence is not None
    return evidence


def test_what_a_step_counted_goes_into_the_next_one_once(world: Any) -> None:
    begun(world)
    world.run(60, lambda w: w.status["rollout"]["step"] == 1)
    before = counted_so_far(world)
    world.run(30, lambda w: w.status["rollout"]["weight"] == 50)
    rollout = world.md.status.rollout
    carried = counted_so_far(world)
    assert {(check.verdict, check.message, check.value) for check in rollout.checks} == {
        ("Inconclusive", "not looked at yet at weight 50%", None)
    }
    assert undecided(world.md, world.md.status) == ""
    assert carried.requests == 0
    assert carried.earlier_requests >= before.requests > 0
    world.run(18)
    assert counted_so_far(world).requests > 0
    assert counted_so_far(world).earlier_requests == carried.earlier_requests
    world.run_until("Promoting")
    world.run_until("Watching")
    assert world.status["rollout"].get("checks", []) == []


def test_pods_that_were_lost_cost_what_was_counted(world: Any) -> None:
    begun(world)
    world.run(90, lambda w: w.status["rollout"]["weight"] == 50)
    assert counted_so_far(world).earlier_requests > 0
    candidate = world.status["candidate"]["revision"]
    world.pods.pop(candidate)
    world.run(60, lambda w: w.status["rollout"]["weight"] == 0)
    world.run(60, lambda w: w.status["rollout"]["weight"] == 50)
    world.run(15)
    assert counted_so_far(world).earlier_requests == 0


def test_the_first_look_at_a_weight_is_not_too_early_for_what_was_carried(world: Any) -> None:
    world.spec["rollout"]["analysis"] |= {"interval": "30s", "window": "30s"}
    begun(world)
    world.run(200, lambda w: w.status["rollout"]["weight"] == 50)
    world.run(6)
    assert "not looked at yet" not in world.status["rollout"]["checks"][0]["message"]


PROPORTION = {
    "hits": "declined{r='{{revision}}'}[{{window}}]",
    "total": "all{r='{{revision}}'}[{{window}}]",
    "maxIncrease": "5%",
}


def counted(value: float) -> Any:
    return (Series({}, value),)


@pytest.mark.parametrize(
    ("hits", "total", "verdict", "words"),
    [
        (counted(30), counted(100), "Pass", "share 30% of 100 requests is not shown"),
        (counted(130), counted(100), "Inconclusive", "hits must be a part of total"),
        (counted(float("nan")), counted(100), "Inconclusive", "the query for hits gave nan"),
        ((), counted(100), "Inconclusive", "the query for hits gave no data"),
        (counted(1), (*counted(1), *counted(2)), "Inconclusive", "the query for total gave 2 series"),
        (Unavailable("parse error"), counted(100), "Inconclusive", "no answer: parse error"),
        (counted(3), counted(10), "Inconclusive", "10 requests so far"),
    ],
)
def test_a_share_of_the_users_own_is_counted_by_two_queries(
    world: Any, hits: Any, total: Any, verdict: str, words: str
) -> None:
    world.spec["rollout"]["checks"] = [{"name": "declined", "proportion": PROPORTION}]
    begun(world)
    _, asked = asked_next(world)
    roles = [f"{role}/declined/{part}" for role in ("query", "baseline") for part in ("hits", "total")]
    assert set(roles) <= set(asked)
    assert f"r='{world.serving}'" in asked["baseline/declined/hits"]
    changes = dict(zip(roles, (hits, total, counted(600), counted(2000)), strict=True))
    analysis = look(world, changes)
    assert analysis.checks[0].verdict == verdict
    assert words in analysis.checks[0].message


def test_without_a_query_for_the_total_the_requests_are_the_total(world: Any) -> None:
    proportion = {"hits": PROPORTION["hits"], "max": "50%"}
    world.spec["rollout"]["checks"] = [{"name": "declined", "proportion": proportion}]
    begun(world, 20)
    analysis = look(world, {"query/declined/hits": counted(10)})
    check = analysis.checks[0]
    assert check.verdict == "Pass"
    assert check.requests >= 50
