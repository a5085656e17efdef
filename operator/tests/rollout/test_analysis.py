"""When to ask Prometheus, what to ask, and what no answer means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.analysis import judge
from haldane.plan.asking import due_at, queries
from haldane.plan.observed import Unavailable


def test_nothing_is_asked_at_rest_or_before_there_is_traffic(world: Any) -> None:
    assert queries(world.md, world.now) == {}
    world.deploy("2")
    world.run_until("Preparing")
    assert queries(world.md, world.now) == {}


def test_queries_name_both_revisions_and_a_window_of_this_weight_only(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    later = world.now + timedelta(seconds=11)
    asked = queries(world.md, later)
    stable, candidate = world.serving, world.status["candidate"]["revision"]
    assert f'revision=~"{candidate}|{stable}"' in asked["recent"]
    assert 'model="fraud",model_namespace="payments"' in asked["recent"]
    assert "[12s]" in asked["recent"]
    assert "[7s]" in asked["requests"], "the warm-up does not count"
    assert "haldane_request_duration_seconds_bucket" in asked["durations"]


def test_a_free_query_is_filled_in_for_each_revision(world: Any) -> None:
    world.spec["rollout"]["checks"] = [
        {
            "name": "a",
            "query": {"promql": 'x{m="{{model}}",n="{{namespace}}",r="{{revision}}"}[{{window}}]', "maxIncrease": "5%"},
        }
    ]
    world.deploy("2")
    world.run_until("Progressing")
    asked = queries(world.md, world.now + timedelta(seconds=60))
    candidate = world.status["candidate"]["revision"]
    assert asked["query/a"] == f'x{{m="fraud",n="payments",r="{candidate}"}}[20s]'
    assert asked["baseline/a"] == f'x{{m="fraud",n="payments",r="{world.serving}"}}[20s]'


def test_evaluations_keep_their_interval(world: Any) -> None:
    world.deploy("2")
    world.run(
        60, lambda w: bool(w.status["rollout"].get("step_started_at") or w.status["rollout"].get("stepStartedAt"))
    )
    world.run(6)
    due = due_at(world.md, world.now)
    assert due is not None
    assert timedelta(0) < due - world.now <= timedelta(seconds=5)
    assert queries(world.md, due - timedelta(milliseconds=1)) == {}
    assert queries(world.md, due) != {}


@pytest.mark.parametrize("reason", ["connection refused", "timed out after 5 s"])
def test_an_outage_is_inconclusive_everywhere_and_names_itself(world: Any, reason: str) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    later = world.now + timedelta(seconds=30)
    answers = dict.fromkeys(queries(world.md, later), Unavailable(reason))
    analysis = judge(world.md, answers, later)
    assert analysis is not None
    assert analysis.share is None
    assert analysis.outage == reason
    assert [c.verdict for c in analysis.checks] == ["Inconclusive", "Inconclusive"]
    assert all(reason in c.message for c in analysis.checks)


def test_failures_are_counted_in_a_row_and_survive_an_outage(world: Any) -> None:
    world.deploy("2")
    world.behaviours["2"].latency = 0.3
    world.run(120, lambda w: any(c["verdict"] == "Fail" for c in w.status["rollout"]["checks"]))
    assert [c["failures"] for c in world.status["rollout"]["checks"]] == [0, 1]


def test_the_watch_compares_with_nobody(world: Any) -> None:
    world.deploy("2")
    world.run_until("Watching")
    asked = queries(world.md, world.now + timedelta(seconds=15))
    assert f'revision=~"{world.serving}"' in asked["requests"]


def test_warming_up_is_called_by_its_name(world: Any) -> None:
    world.deploy("2")
    world.run_until("Progressing")
    world.run(3)
    later = world.now + timedelta(seconds=1)
    analysis = judge(world.md, {key: world.answer(promql) for key, promql in queries(world.md, later).items()}, later)
    messages = {c.message for c in (analysis.checks if analysis else ())} | {
        c["message"] for c in world.status["rollout"]["checks"]
    }
    assert messages == {"warming up: the first 5s of a step do not count"}


def test_no_samples_yet_are_not_taken_for_no_requests(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "answer", lambda promql, *ago: ())
    world.deploy("2")
    world.run_until("Progressing")
    world.run(30)
    assert "Prometheus has no samples of it yet" in world.status["rollout"]["message"]
    assert world.status["rollout"]["weight"] == 5
