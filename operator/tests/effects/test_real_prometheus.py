"""A real Prometheus answers all that a check asks in one query as it answers each part alone, or it is asked for each."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from bench.operator_scale.prometheus import PrometheusProcess
from haldane.api.rollout import Check, Query
from haldane.api.status import ModelDeploymentStatus, Phase, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.answers import within
from haldane.control.batching import Batcher
from haldane.control.ports import Answer, Series, Unavailable
from haldane.effects.prometheus import Prometheus
from haldane.plan.analysis import judge
from haldane.plan.asking import queries
from haldane.plan.queries import free
from haldane.plan.rehearsal import findings, questions

pytestmark = pytest.mark.api

REVISIONS = ("aaaaaaaaaa", "bbbbbbbbbb")
ONE = 'label_replace(vector(time()), "revision", "{{revision}}", "", "")'
TWO = 'label_replace(vector(1), "a", "1", "", "") or label_replace(vector(2), "a", "2", "", "")'
SCRAPED = timedelta(seconds=20)

TOGETHER = {
    "one series": [ONE],
    "different queries": [ONE, f"sum({TWO})"],
    "a series with a name": ["up"],
    "series that differ in their names": ['{__name__=~"up|scrape_duration_seconds"}', "up"],
    "many series": [TWO, ONE],
    "no series": ["vector(1) > 2", ONE],
    "not a number": ["vector(0) / 0", "-1 / vector(0)"],
    "a scalar": ["scalar(vector(3)) / 2 # of {{revision}}", "time() - 1e3", "5m", "2 ^ -pi() > bool Inf", ONE],
    "a comment": [f"{ONE} # of (all", f"# of all\n{ONE}"],
    "lines": [f"{ONE}\n", f"\n\n{ONE}\r\n"],
    "brackets in a text": [
        'label_replace(vector(1), "a", ")", "", "")',
        "label_replace(vector(1), `a`, `\\\\(`, '', '')",
    ],
    "or and precedence": ["vector(1) or vector(2)", "1 - vector(1)", "-vector(1) ^ 2"],
    "a time of its own": ["up @ end()", "last_over_time(vector(time())[1m:1s] offset 5s)"],
}
APART = {
    "does not parse": ["sum(rate(x[5m])", ONE],
    "parses inside another one alone": ["vector(1)) or (vector(2)", ONE],
    "ends too early": ["vector(1) +", ONE],
    "is two": ["vector(1), vector(2)", ONE],
    "is no text": ['up{a="b}', ONE],
    "is a text": ['"5"', ONE],
    "is a range": ["up[5m]", ONE],
    "has no such function": ["vector(1)", "summe(x)"],
    "many to many": [f"vector(1) * on() ({TWO})", ONE],
    "many to many, of the other": [ONE, f"vector(1) * on() ({TWO})"],
    "many to one": [f"({TWO}) / on() group_left() ({TWO})", ONE],
}


@pytest.fixture(scope="module")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """It scrapes an address where nobody is, which gives `up` and what else a scrape tells of itself."""
    server = PrometheusProcess(tmp_path_factory.mktemp("prometheus"), "127.0.0.1:9", 1)
    yield server
    server.end()


@dataclass
class Counted:
    """The client, and what it was asked."""

    client: Prometheus
    asked: list[str] = field(default_factory=list)

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        self.asked.append(promql)
        return await self.client.query(promql, at, owner=owner)


@pytest.fixture
def prometheus(prometheus_server: PrometheusProcess) -> Iterator[Counted]:
    client = Prometheus(prometheus_server.url)
    yield Counted(client)
    client.close()


@pytest.fixture(scope="module")
def now(prometheus_server: PrometheusProcess) -> datetime:
    """A moment at which it has scraped."""
    client, deadline = Prometheus(prometheus_server.url), time.monotonic() + SCRAPED.total_seconds()
    while not asyncio.run(client.query("up", at := datetime.now(UTC))):
        assert time.monotonic() < deadline, "it does not scrape"
        time.sleep(0.05)
    client.close()
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def model() -> ModelDeployment:
    body = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
    metadata = {"name": "fraud", "namespace": "shop", "uid": "u", "generation": 1}
    spec = {"model": {"uri": "s3://models/a", "version": "1"}}
    return ModelDeployment.from_wire({**body, "metadata": metadata, "spec": spec})


async def both(
    prometheus: Counted, texts: list[str], *instants: datetime
) -> tuple[list[Answer], list[Answer], list[str]]:
    """The answers to all parts together and to each alone, and what was asked for the first."""
    parts = [
        (free(model(), "own", text, revision, 60), at)
        for revision, at in zip(REVISIONS, instants, strict=True)
        for text in texts
    ]
    batcher = Batcher(prometheus, gather=0.0)
    found = await within(30.0, {str(n): batcher.query(*part, owner="shop") for n, part in enumerate(parts)})
    asked = list(prometheus.asked)
    return list(found.values()), [await prometheus.query(*part, owner="shop") for part in parts], asked


def readable(answers: list[Answer]) -> list[object]:
    """NaN equals itself, and series have no order."""
    return [
        answer if isinstance(answer, Unavailable) else sorted((sorted(s.labels.items()), repr(s.value)) for s in answer)
        for answer in answers
    ]


@pytest.mark.parametrize("texts", TOGETHER.values(), ids=TOGETHER)
async def test_together_as_apart(prometheus: Counted, now: datetime, texts: list[str]) -> None:
    together, apart, asked = await both(prometheus, texts, now, now)
    assert not [answer for answer in apart if isinstance(answer, Unavailable)]
    assert readable(together) == readable(apart)
    assert len(asked) == 1


@pytest.mark.parametrize("texts", TOGETHER.values(), ids=TOGETHER)
async def test_about_two_instants(prometheus: Counted, now: datetime, texts: list[str]) -> None:
    """The second is stable's past: what a text that fixes itself to its own time gives there, no query but its own tells."""
    together, apart, asked = await both(prometheus, texts, now, now - timedelta(days=1, milliseconds=123))
    assert readable(together) == readable(apart)
    assert len(asked) == 1 + sum("@" in text for text in texts)


@pytest.mark.parametrize("texts", APART.values(), ids=APART)
async def test_what_is_refused_together_is_told_of_the_part_at_fault(
    prometheus: Counted, now: datetime, texts: list[str]
) -> None:
    together, apart, _ = await both(prometheus, texts, now, now)
    assert readable(together) == readable(apart)
    wrong = [isinstance(answer, Unavailable) for answer in together]
    assert wrong == 2 * [text != ONE and text != "vector(1)" for text in texts]


async def test_a_number_is_not_rounded_on_the_way(prometheus: Counted, now: datetime) -> None:
    past = now - timedelta(hours=1, milliseconds=1)
    (first, second), _, _ = await both(prometheus, ["vector(time()) / 3"], now, past)
    assert first == (Series({}, now.timestamp() / 3),)
    assert isinstance(second, tuple)
    assert math.isclose(second[0].value, past.timestamp() / 3, rel_tol=1e-15)


REASONS = {
    "does not parse": ("sum(rate(x[5m])", r"refused the query: .*parse error: unclosed left parenthesis"),
    "has no such function": ('summe(x{revision="{{revision}}"})', 'unknown function with name "summe"'),
    "is a text": ('"5"', "the query is a text, not a number"),
    "is a range": ('up{revision!="{{revision}}"}[5m]', "the query gives a range of values for each series"),
    "gives several series": (TWO, "2 series: aggregate them to one"),
    # Some 20,000,000,000 additions: no machine makes them in the five seconds that a query has.
    "takes too long": (
        "sum_over_time(sum_over_time(sum_over_time(vector(1)[1h:1s])[1h:1s])[60d:1m])",
        "query timed out|did not answer",
    ),
}


def asking(text: str, phase: Phase, since: datetime) -> ModelDeployment:
    """A model with one check of its own: at rest, or with a candidate that has a share."""
    md = model()
    stable, candidate = (
        RevisionStatus(revision=revision, version="1", replicas=1, ready_replicas=1) for revision in REVISIONS
    )
    rollout = RolloutStatus(phase=phase, weight=5, step=0, weight_changed_at=since, phase_started_at=since)
    is_moving = phase == "Progressing"
    checks = [Check(name="own", query=Query(promql=text, max="1"))]
    spec = md.spec.model_copy(update={"rollout": md.spec.rollout.model_copy(update={"checks": checks})})
    status = ModelDeploymentStatus(stable=stable, candidate=candidate if is_moving else None, rollout=rollout)
    return md.model_copy(update={"spec": spec, "status": status})


@pytest.mark.parametrize(("text", "reason"), REASONS.values(), ids=REASONS)
async def test_why_a_query_cannot_be_used_is_told_at_rest_and_in_a_rollout(
    prometheus_server: PrometheusProcess, now: datetime, text: str, reason: str
) -> None:
    client = Prometheus(prometheus_server.url, timeout=1.5)
    batcher = Batcher(client, gather=0.0)

    async def answers(asked: dict[str, str]) -> dict[str, Answer]:
        return await within(30.0, {name: batcher.query(promql, now, owner="shop") for name, promql in asked.items()})

    at_rest = asking(text, "Stable", now - timedelta(minutes=5))
    found = findings(at_rest, await answers(questions(at_rest)), now)
    moving = asking(text, "Progressing", now - timedelta(minutes=5))
    judged = judge(moving, await answers(queries(moving, now)), now)
    client.close()
    assert judged
    check = judged.checks[0]
    told = [*(found or ()), f"{check.verdict}: {check.message}"]
    assert [bool(re.search(reason, each)) for each in told] == [True, True], told
    assert told[0].startswith("check own: the query gave ")
    assert told[1].startswith("Inconclusive: the query gave ")
