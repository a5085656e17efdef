"""A thousand rollouts under way, looked at on exact time: how often Prometheus is asked, when, and how much at once."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.batching import FREE_EACH, GATHER_SECONDS, Batcher
from haldane.control.looks import FRESH, MOST, Look, Looks
from haldane.control.ports import Answer, Manifest
from haldane.control.store import Key
from haldane.plan.analysis import Analysis
from haldane.plan.asking import due_at

Run = Callable[[Any], Any]

COUNT = 1000
DEFAULTS = [
    {"name": "errors", "errorRate": {"maxIncrease": "1%"}},
    {"name": "latency", "latency": {"quantile": "0.99", "maxIncrease": "20%"}},
]
OWN = [
    {"name": "approvals", "query": {"promql": 'a{m="{{model}}",r="{{revision}}"}', "max": "1", "maxIncrease": "5%"}},
    {
        "name": "declined",
        "proportion": {
            "hits": 'd{m="{{model}}",r="{{revision}}"}[{{window}}]',
            "total": 't{m="{{model}}",r="{{revision}}"}[{{window}}]',
            "maxIncrease": "1%",
        },
    },
]
"""They ask three and five things: of the candidate, of stable and of nobody."""
INTERVAL = 30.0
START = datetime(2026, 1, 1, tzinfo=UTC)
TAKES, TAKES_OWN = 0.2, 0.02
"""Seconds that Prometheus takes for an answer about all objects, and about a user's check of one."""
_METRIC, _MODEL = re.compile(r"\b([adt])\{"), re.compile(r'm="([^"]*)"')


def under_way(checks: list[Any]) -> ModelDeployment:
    """A rollout in a long step, its weight set ten minutes ago, that was last looked at a minute ago."""
    weighed, looked = START - timedelta(minutes=10), START - timedelta(minutes=1)
    rollout = {"phase": "Progressing", "step": 0, "weight": 5, "checkedAt": looked.isoformat()}
    rollout |= dict.fromkeys(("startedAt", "phaseStartedAt", "weightChangedAt", "stepStartedAt"), weighed.isoformat())
    revisions = {
        role: {"revision": role[0] * 10, "version": role, "replicas": 1, "readyReplicas": 1}
        for role in ("stable", "candidate")
    }
    spec = {
        "model": {"uri": "s3://models/a", "version": "2"},
        "rollout": {"steps": [{"weight": 5, "hold": "1h"}], "checks": checks},
    }
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "model", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": spec,
            "status": {**revisions, "rollout": rollout},
        }
    )


@dataclass
class Fleet:
    """The objects, each with what every pass would write into its status; Prometheus, which is only counted."""

    checks: list[Any]
    objects: dict[Key, ModelDeployment] = field(default_factory=dict)
    asked: list[float] = field(default_factory=list)
    asked_freely: Counter[tuple[str, str, datetime]] = field(default_factory=Counter)
    looks: dict[Key, list[Look]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    bodies: dict[Key, Manifest] = field(default_factory=dict)
    most_at_once: int = 0

    def __post_init__(self) -> None:
        one = under_way(self.checks)
        for number in range(COUNT):
            key, uid = Key("shop", f"model-{number:04d}"), str(UUID(int=number * 2654435761))
            self.objects[key] = one.model_copy(
                update={"metadata": one.metadata.model_copy(update={"name": key.name, "uid": uid})}
            )
        self.looking = Looks(Batcher(self), self.decide)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        if owner is None:
            self.asked.append(asyncio.get_running_loop().time())
            await asyncio.sleep(TAKES)
            return ()
        metrics, (name,) = "".join(sorted(set(_METRIC.findall(promql)))), set(_MODEL.findall(promql))
        self.asked_freely[metrics, name, at] += 1
        await asyncio.sleep(TAKES_OWN)
        return ()

    def decide(self, key: Key, urgent: bool = False) -> None:
        """A pass: it finds a look due, or what the look has found."""
        md = self.objects[key]
        look = self.looking.of(key, self.bodies.setdefault(key, {}), md, self.now)
        assert look, (key, due_at(md, self.now), self.now)
        if look.is_under_way:
            return
        found = look.answers.result()
        assert found
        assert not urgent
        self.looks.setdefault(key, []).append(look)
        self.late.append((self.now - look.at).total_seconds())
        rollout = md.status.rollout.model_copy(update={"checked_at": look.at, "checks": list(found.checks)})
        self.objects[key] = md.model_copy(update={"status": md.status.model_copy(update={"rollout": rollout})})
        self.bodies[key] = {}
        self.wait(key)

    def wait(self, key: Key) -> None:
        due = due_at(self.objects[key], self.now)
        assert due
        after = max(0.0, (due - self.now).total_seconds())
        asyncio.get_running_loop().call_later(after, self.decide, key)

    async def play(self, intervals: float) -> None:
        for key in self.objects:
            self.wait(key)
        while (now := asyncio.get_running_loop().time()) < INTERVAL * intervals - 0.5:
            looks = [task for task in asyncio.all_tasks() if task.get_name().startswith("look at ")]
            self.most_at_once = max(self.most_at_once, len(looks))
            await asyncio.sleep(0.05 if now < 10.0 else 1.0)


@pytest.mark.parametrize("own", [[], OWN], ids=["default checks", "checks of their own, too"])
def test_a_thousand_rollouts_ask_at_most_once_a_check_and_interval(
    own: list[Any], run_exactly: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are overdue at once, as after an outage; from then on they are spread, and still share the operator's queries."""
    monkeypatch.setattr("haldane.plan.analysis.judge", lambda md, answers, at: Analysis(at, (), None))
    fleet = Fleet(DEFAULTS + own)
    run_exactly(fleet.play(2.0))
    together, later = [[at for at in fleet.asked if (at < 5.0) is first] for first in (True, False)]
    assert len(together) <= 60
    assert len(later) <= 100 < len(DEFAULTS) * COUNT
    assert max(Counter(int(at) for at in later).values()) <= 10
    assert fleet.most_at_once == MOST
    assert set(fleet.asked_freely.values()) == ({1} if own else set())
    assert fleet.asked_freely.keys() >= {
        (metrics, key.name, look.at)
        for key, looks in fleet.looks.items()
        for look in looks
        for metrics in ("a", "dt")
        if own
    }
    looks = [[look.at for look in looks] for looks in fleet.looks.values()]
    assert len(looks) == COUNT
    for instants in looks:
        first, *rest = ((after - before).total_seconds() for before, after in pairwise(instants))
        assert INTERVAL / 2 < first <= INTERVAL
        assert set(rest) <= {INTERVAL}
    on_time = [late for number, late in enumerate(fleet.late) if number >= COUNT]
    waits = math.ceil(len(own) * COUNT / (INTERVAL / 2) / FREE_EACH) * TAKES_OWN
    assert max(on_time) <= GATHER_SECONDS + TAKES + waits + 0.01 < FRESH.total_seconds()


def test_whose_turn_it_is_comes_in_the_order_of_asking(run_exactly: Run) -> None:
    async def main() -> list[Key]:
        woken: list[Key] = []
        fleet = Fleet(DEFAULTS)
        looks = Looks(fleet, lambda key, _: woken.append(key))
        body: Manifest = {}
        keys = list(fleet.objects)[: MOST + 4]
        for key in keys:
            look = looks.of(key, body, fleet.objects[key], fleet.now)
            assert look
            assert look.is_under_way
        waiting = keys[MOST:]
        looks.forget(waiting[0])  # it is gone
        looks.forget(keys[0])
        assert woken == [waiting[1]]
        looks.forget(waiting[1])
        assert woken == waiting[1:3]
        await asyncio.sleep(1.0)
        assert looks.of(keys[1], body, fleet.objects[keys[1]], fleet.now)  # its pass has the answers now
        return [key for key in woken if key in waiting]

    woken = run_exactly(main())
    assert len(woken) == 3
