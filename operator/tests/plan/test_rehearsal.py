"""Checks that cannot be decided are told as soon as they are applied, and what only time can tell is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haldane.api.status import Condition, HistoryEntry, ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.nobody import NOBODY
from haldane.plan.observed import Answer, Observed, Series, Unavailable
from haldane.plan.rehearsal import doubt_events, findings, questions
from haldane.plan.status import compose

Make = Callable[..., ModelDeployment]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
APPROVALS = {"name": "approvals", "query": {"promql": 'a{revision="{{revision}}"}[{{window}}]', "max": "0.3"}}
DECLINED: dict[str, Any] = {"name": "declined", "proportion": {"hits": "d{{revision}}[{{window}}]", "max": "1%"}}


def at_rest(
    make: Make, served: timedelta = timedelta(hours=1), phase: Any = "Stable", **rollout: Any
) -> ModelDeployment:
    """A model whose stable revision was promoted so long ago."""
    promoted = HistoryEntry(
        revision="aaaaaaaaaa",
        version="1",
        outcome="Promoted",
        started_at=NOW - served,
        finished_at=NOW - served,
        message="m",
    )
    stable = RevisionStatus(revision="aaaaaaaaaa", version="1", replicas=2, ready_replicas=2)
    status = ModelDeploymentStatus(stable=stable, rollout=RolloutStatus(phase=phase), history=[promoted])
    traffic = {"host": "a.example.com", "ingress": {}}
    return make(rollout=rollout, traffic=traffic).model_copy(update={"status": status})


def one(value: float) -> tuple[Series, ...]:
    return (Series({}, value),)


def many(*values: float) -> Answer:
    return tuple(Series({"code": str(value)}, value) for value in values)


def requests(rate: float) -> Answer:
    """What 15 minutes at so many requests a second count."""
    return (Series({"revision": "aaaaaaaaaa", "code": "200"}, rate * 900),)


def test_it_asks_of_stable_what_a_rollout_will_ask_of_the_candidate(model_deployment: Make) -> None:
    asked = questions(at_rest(model_deployment, checks=[APPROVALS, DECLINED]))
    assert asked.keys() == {"requests", "lately", "query/approvals", "query/approvals/nobody", "query/declined/hits"}
    assert asked["query/approvals"] == 'a{revision="aaaaaaaaaa"}[120s]'
    assert asked["query/approvals/nobody"] == f'a{{revision="{NOBODY}"}}[120s]'
    assert asked["query/declined/hits"] == "daaaaaaaaaa[120s]"


@pytest.mark.parametrize("phase", ["Initializing", "RollingBack"])
def test_it_asks_nothing_of_who_may_have_no_requests(model_deployment: Make, phase: str) -> None:
    md = at_rest(model_deployment, phase=phase, checks=[APPROVALS])
    assert questions(md) == {}
    assert findings(md, {}, NOW) is None


@pytest.mark.parametrize(
    ("answer", "nobody", "words"),
    [
        (one(0.2), (), ""),
        ((), (), ""),
        (one(float("nan")), (), ""),
        (many(1.0, 2.0, 3.0), (), "check approvals: the query gave 3 series: aggregate them"),
        (Unavailable("it refused the query: parse error: unexpected }"), (), "parse error: unexpected }"),
        (Unavailable("the query gives a range of values"), (), "a range of values"),
        (Unavailable("Prometheus did not answer within 5 s"), (), "did not answer within 5 s"),
        (one(0.2), one(0.0), "gave 0 for a revision that does not exist, too, so that it would pass without data"),
        (one(0.2), Unavailable("timed out"), ""),
        (one(0.2), one(0.4), ""),
    ],
)
def test_queries(model_deployment: Make, answer: Answer, nobody: Answer, words: str) -> None:
    md = at_rest(model_deployment, checks=[APPROVALS])
    answers = {"requests": requests(100), "query/approvals": answer, "query/approvals/nobody": nobody}
    found = findings(md, answers, NOW)
    assert found is not None
    assert (words in found[0]) if words else (found == ())


def test_the_two_queries_of_a_proportion_are_told_apart(model_deployment: Make) -> None:
    md = at_rest(model_deployment, checks=[DECLINED])
    answers = {"requests": requests(100), "query/declined/hits": many(1.0, 2.0)}
    found = findings(md, answers, NOW)
    assert found == ("check declined: the query for hits gave 2 series: aggregate them to one, for example with sum()",)


@pytest.mark.parametrize(
    ("nobody", "words"),
    [
        ((), ""),
        (one(0.0), ""),
        (one(700.0), "the query for total gave 700 for a revision that does not exist, too, so that it would pass"),
    ],
)
def test_hits_may_be_0_for_nobody_and_requests_may_not_be_made_up(
    model_deployment: Make, nobody: Answer, words: str
) -> None:
    total = {**DECLINED["proportion"], "total": "t{{revision}}[{{window}}]"}
    md = at_rest(model_deployment, checks=[{"name": "declined", "proportion": total}])
    assert "query/declined/hits/nobody" not in questions(md)
    assert questions(md)["query/declined/total/nobody"] == f"t{NOBODY}[120s]"
    found = findings(md, {"requests": requests(100), "query/declined/total/nobody": nobody}, NOW)
    assert found is not None
    assert (words in found[0]) if words else (found == ())


@pytest.mark.parametrize(
    ("rate", "served", "steps"),
    [
        (100.0, timedelta(hours=1), []),
        (10.0, timedelta(hours=1), ["step 1 (1%)"]),
        (1.0, timedelta(hours=1), ["step 1 (1%)", "step 2 (5%)"]),
        (0.0, timedelta(hours=1), []),
        (1.0, timedelta(minutes=5), []),
    ],
)
def test_steps_that_never_get_enough_requests(
    model_deployment: Make, rate: float, served: timedelta, steps: list[str]
) -> None:
    found = findings(at_rest(model_deployment, served), {"requests": requests(rate)}, NOW)
    assert found is not None
    assert [text.partition(":")[0] for text in found] == steps
    assert all("lower spec.rollout.analysis.minRequests" in text for text in found)


@pytest.mark.parametrize(("rate", "steps"), [(1000.0, ["step 1 (1% for 2m)"]), (10_000.0, [])])
def test_a_demand_that_no_step_can_meet_before_its_deadline(
    model_deployment: Make, rate: float, steps: list[str]
) -> None:
    md = at_rest(model_deployment, analysis={"detect": "2x"})
    found = findings(md, {"requests": requests(rate)}, NOW)
    assert found is not None
    assert [text.partition(":")[0] for text in found] == steps


def test_an_outage_finds_nothing_out(model_deployment: Make) -> None:
    md = at_rest(model_deployment, checks=[APPROVALS])
    down = Unavailable("connection refused")
    assert findings(md, {"requests": down, "query/approvals": down}, NOW) is None


def shown(md: ModelDeployment, doubts: tuple[str, ...] | None) -> ModelDeploymentStatus:
    return compose(md, md.status, Observed(), NOW, doubts=doubts)


def doubt(status: ModelDeploymentStatus) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == "Undecidable"), None)


def test_doubts_are_a_condition_and_one_event_for_each_spec(model_deployment: Make) -> None:
    md = at_rest(model_deployment)
    assert doubt(shown(md, ())) is None
    first = shown(md, ("check a: the query gave 2 series",))
    told = doubt(first)
    assert told is not None
    assert (told.status, told.reason) == ("True", "ChecksInDoubt")
    assert told.message == "Check a: the query gave 2 series."
    assert [event.reason for event in doubt_events(md.status, first)] == ["ChecksInDoubt"]

    md = md.model_copy(update={"status": first})
    assert doubt(shown(md, None)) == told, "what was found stands while nobody knows better"
    again = shown(md, ("check a: the query gave 3 series",))
    assert doubt_events(first, again) == ()
    assert doubt_events(first, shown(md, ("check a: the query gave 2 series", "check b: the query gave 2 series")))
    assert doubt(shown(md, ())) is None

    edited = md.model_copy(update={"metadata": md.metadata.model_copy(update={"generation": 99})})
    assert doubt(shown(edited, None)) is None, "it spoke of another spec"
    assert doubt_events(first, shown(edited, ("check a: the query gave 2 series",)))


def test_a_metric_that_the_runtime_does_not_have_is_told_without_asking_anybody(model_deployment: Make) -> None:
    check = {"name": "slow", "query": {"promql": "haldane_latency{{revision}}", "max": "1"}}
    told = doubt(shown(at_rest(model_deployment, checks=[check]), None))
    assert told is not None
    assert told.message == "Check slow: the runtime has no metric haldane_latency."


def test_a_limit_that_no_request_can_cross_is_told_without_asking_anybody(model_deployment: Make) -> None:
    check = {"name": "slow", "latency": {"max": "45s"}}
    told = doubt(shown(at_rest(model_deployment, checks=[check]), None))
    assert told is not None
    assert "write a max below it" in told.message


@pytest.mark.parametrize(
    ("phase", "served", "steps"),
    [
        ("Preparing", timedelta(hours=1), ["step 1 (1%)"]),
        ("Progressing", timedelta(hours=1), ["step 1 (1%)"]),
        ("Promoting", timedelta(hours=1), ["step 1 (1%)"]),
        ("Watching", timedelta(hours=1), ["step 1 (1%)"]),
        ("Progressing", timedelta(minutes=5), []),
    ],
)
def test_a_spec_that_is_edited_in_a_rollout_is_rehearsed_there(
    model_deployment: Make, phase: str, served: timedelta, steps: list[str]
) -> None:
    md = at_rest(model_deployment, served, phase=phase)
    stable, other = md.status.stable, RevisionStatus(revision="bbbbbbbbbb", version="2", replicas=2, ready_replicas=2)
    assert stable is not None
    parts: dict[str, Any] = {"stable": stable, "candidate": other}
    if phase == "Watching":
        parts = {"stable": other, "previous": stable}
    md = md.model_copy(update={"status": md.status.model_copy(update=parts)})
    asked = questions(md)
    assert ("aaaaaaaaaa" in asked["requests"], "bbbbbbbbbb" in asked["requests"]) == (True, True)
    shared = tuple(
        Series({"revision": name, "code": "200"}, part * 900) for name, part in (("aaaaaaaaaa", 1), ("bbbbbbbbbb", 9))
    )
    found = findings(md, {"requests": shared}, NOW)
    assert found is not None
    assert [text.partition(":")[0] for text in found] == steps


@pytest.mark.parametrize(
    ("phase", "has_candidate", "since", "is_told"),
    [
        ("Promoting", True, 5, True),
        ("Promoting", False, 5, False),
        ("Watching", False, 5, False),
        ("Watching", False, 900, True),
        ("Stable", False, 5, False),  # it came back
        ("Stable", False, 900, True),
        ("Preparing", True, 5, True),
    ],
)
def test_pods_that_have_just_taken_over_need_not_have_two_samples_yet(
    model_deployment: Make, phase: str, has_candidate: bool, since: int, is_told: bool
) -> None:
    md = at_rest(model_deployment, phase=phase)
    rollout = md.status.rollout.model_copy(update={"phase_started_at": NOW - timedelta(seconds=since)})
    parts = {"rollout": rollout, "candidate": md.status.stable if has_candidate else None}
    md = md.model_copy(update={"status": md.status.model_copy(update=parts)})
    found = findings(md, {"requests": requests(1000), "lately": ()}, NOW)
    if is_told:
        assert found is not None
        assert "raise it to several times the scrape interval" in found[0]
    else:
        assert found is None, "what was told of the same spec stands, and it is asked again"
    assert findings(md, {"requests": requests(1000), "lately": requests(1)}, NOW) == ()
    few = findings(md, {"requests": requests(1), "lately": ()}, NOW)
    assert few, "what is known all the same is told"


@pytest.mark.parametrize(("since", "found"), [(5, None), (899, None), (900, ())])
def test_what_prometheus_has_not_met_yet_is_not_found_to_be_fine(
    model_deployment: Make, since: int, found: tuple[str, ...] | None
) -> None:
    md = at_rest(model_deployment)
    rollout = md.status.rollout.model_copy(update={"phase_started_at": NOW - timedelta(seconds=since)})
    md = md.model_copy(update={"status": md.status.model_copy(update={"rollout": rollout})})
    assert findings(md, {"requests": (), "lately": ()}, NOW) == found


@pytest.mark.parametrize(
    ("counted", "lately", "is_told"),
    [
        (requests(1000), (), True),
        (requests(1000), requests(1), False),
        (requests(0), (), True),
        ((), (), False),
        (requests(1000), Unavailable("timed out"), False),
    ],
)
def test_a_window_of_less_than_two_scrapes(
    model_deployment: Make, counted: Answer, lately: Answer, is_told: bool
) -> None:
    found = findings(at_rest(model_deployment), {"requests": counted, "lately": lately}, NOW)
    assert found is not None
    assert any("raise it to several times the scrape interval" in text for text in found) == is_told
