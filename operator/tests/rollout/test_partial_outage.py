"""One query that Prometheus does not answer hides nothing that the others show, and lets nothing pass."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from haldane.api.rollout import Query
from haldane.api.status import CheckStatus
from haldane.plan.analysis import judge
from haldane.plan.asking import queries
from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.verdicts import judge_query

TIMED_OUT = Unavailable("query timed out in expression evaluation", too_much=True)
SLOW_AND_FAILING = [
    {"name": "errors", "errorRate": {"max": "1%", "maxIncrease": "0.1%", "abort": "20%"}},
    {"name": "p99", "latency": {"max": "100ms", "maxIncrease": "10%"}},
    {"name": "declined", "proportion": {"hits": "declined{{revision}}[{{window}}]", "max": "1%", "maxIncrease": "1%"}},
]


def found(world: Any, phase: str, hits: float, *lost: str) -> dict[str, CheckStatus]:
    """The verdicts of a look 40 s after the weight, when the queries of these names are not answered."""
    world.spec["rollout"] |= {"checks": SLOW_AND_FAILING, "watchAfterPromotion": "5m"}
    world.spec["rollout"]["steps"] = [{"weight": 50, "hold": "60s" if phase == "Progressing" else "1s"}]
    own = world.answer
    world.answer = lambda promql, *ago: own(promql, *ago) if "haldane_" in promql else (Series({}, 0.0),)
    world.run(100)
    world.deploy("2")
    world.run_until(phase)
    world.behaviours["2"].error_rate, world.behaviours["2"].latency = hits, 0.3 if hits else 0.008
    for _ in range(40):
        world.traffic()
    later = world.now + timedelta(seconds=40)
    answers: dict[str, Answer] = {}
    for name, promql in queries(world.md, later).items():
        is_hits = name.endswith("declined/hits")
        value = (Series({}, 1000.0 * hits if name.startswith("query") else 0.0),) if is_hits else own(promql)
        answers[name] = TIMED_OUT if name in lost else value
    assert set(lost) <= answers.keys()
    analysis = judge(world.md, answers, later)
    assert analysis is not None
    return {check.name: check for check in analysis.checks}


def test_abort_needs_the_last_window_alone(world: Any) -> None:
    errors = found(world, "Progressing", 0.5, "requests")["errors"]
    assert errors.verdict == "Fail", errors.message
    assert "abort limit 20%" in errors.message


def test_latency_does_not_need_the_requests(world: Any) -> None:
    assert found(world, "Progressing", 0.1, "requests", "recent")["p99"].verdict == "Fail"


def test_the_whole_step_is_judged_though_the_last_window_is_not_known(world: Any) -> None:
    world.spec["rollout"] |= {"checks": SLOW_AND_FAILING[:1], "steps": [{"weight": 50, "hold": "60s"}]}
    world.deploy("2")
    world.run(200, lambda w: w.status["rollout"].get("stepStartedAt") is not None)
    world.run(25)
    own = world.answer
    world.answer = lambda promql, *ago: TIMED_OUT if "[20s]" in promql else own(promql, *ago)
    world.behaviours["2"].error_rate = 0.1
    world.run_until("RollingBack", 30)


def test_absolute_limits_do_not_need_the_hour_before_the_rollout(world: Any) -> None:
    verdicts = found(world, "Watching", 0.1, "before/requests", "before/durations")
    assert (verdicts["errors"].verdict, verdicts["p99"].verdict) == ("Fail", "Fail"), verdicts
    assert "beyond the limit 1%" in verdicts["errors"].message


@pytest.mark.parametrize(
    ("phase", "lost", "undecided"),
    [
        ("Progressing", "recent", {"errors"}),
        ("Progressing", "durations/recent", {"p99"}),
        ("Progressing", "durations", {"p99"}),
        ("Progressing", "requests", {"errors", "declined"}),
        ("Progressing", "query/declined/hits", {"declined"}),
        ("Progressing", "baseline/declined/hits", {"declined"}),
        ("Watching", "before/requests", {"errors", "declined"}),
        ("Watching", "before/durations", {"p99"}),
    ],
)
def test_nothing_passes_without_what_it_needs(world: Any, phase: str, lost: str, undecided: set[str]) -> None:
    verdicts = found(world, phase, 0.0, lost)
    open_checks = {name for name, check in verdicts.items() if check.verdict == "Inconclusive"}
    assert open_checks == undecided, verdicts
    assert all("timed out" in verdicts[name].message for name in undecided)
    assert {check.verdict for name, check in verdicts.items() if name not in undecided} == {"Pass"}


def test_a_planned_look_is_not_spent_on_half_of_the_limits(world: Any) -> None:
    world.spec["rollout"]["checks"] = SLOW_AND_FAILING[:1]
    world.spec["rollout"]["steps"] = [{"weight": 50, "hold": "20s"}]
    world.deploy("2")
    world.run(200, lambda w: w.status["rollout"].get("stepStartedAt") is not None)
    own = world.answer
    world.answer = lambda promql, *ago: TIMED_OUT if "[20s]" in promql else own(promql, *ago)
    world.run(60)
    assert world.md.status.rollout.checks[0].verdict == "Inconclusive"
    assert world.md.status.rollout.checks[0].evidence.split()[1] == "0"
    world.answer = own
    world.run_until("Promoting", 60)


@pytest.mark.parametrize(("value", "verdict"), [(0.5, "Fail"), (0.2, "Inconclusive")])
def test_the_absolute_limit_of_a_query_does_not_need_stable(value: float, verdict: str) -> None:
    check = Query(promql="x", max="0.3", max_increase="10%")
    assert judge_query(check, (Series({}, value),), TIMED_OUT, 100, 100).verdict == verdict
