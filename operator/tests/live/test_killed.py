"""SIGKILL to the real operator at random instants of whole rollouts: they end as they do beside it, where nobody kills."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver.fork import Fork
from e2e.apiserver.hands import Behaviour, Hands

from .model import Model

if TYPE_CHECKING:
    from e2e.apiserver.operator_process import OperatorProcess
    from e2e.apiserver.prometheus import PrometheusStandIn
    from e2e.apiserver.recording import Recording
    from e2e.apiserver.rest import Rest
    from e2e.apiserver.server import ApiServer

    from .conftest import Record, StartOperator

pytestmark = pytest.mark.api

Body = dict[str, Any]
KILLS = 10
LIVES = (0.1, 2.5)
"""Seconds that an operator lives, from its fork on: the shortest lives end before it has listed anything."""
WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


class Killer(Thread):
    """Kills the operator and starts the next one, until it is stopped; then one goes on living."""

    def __init__(self, start: Callable[[], OperatorProcess]) -> None:
        super().__init__(daemon=True)
        self.kills = 0
        self._start, self._stop_asked = start, Event()
        self.process = start()

    def run(self) -> None:
        while not self._stop_asked.wait(random.uniform(*LIVES)):
            self.process.kill()
            self.kills += 1
            self.process = self._start()

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


@pytest.fixture
def killer(launch: StartOperator, apiserver: ApiServer, namespaces: list[str]) -> Iterator[Killer]:
    with closing(Fork(apiserver.kubeconfig("operator"))) as fork:
        killer = Killer(lambda: launch(fork, watch_namespaces=",".join(namespaces[:2])))
        killer.start()
        yield killer
        killer.stop()
        killer.process.end()
        print(killer.process.log)


@pytest.fixture
def namespaces(rest: Rest, served: tuple[OperatorProcess, list[str]]) -> Iterator[list[str]]:
    """Two whose operator is killed, and two of the shared operator."""
    names = [*(rest.new_namespace() for _ in range(2)), *(served[1].pop() for _ in range(2))]
    yield names
    for name in names:
        rest.clear(name)


def test_killed_at_random_instants(
    killer: Killer, namespaces: list[str], rest: Rest, prometheus: PrometheusStandIn, record: Record
) -> None:
    models = [Model(rest, Hands(rest, name, prometheus.of(name))) for name in namespaces]
    recordings = [record(model, "Ingress", "Deployment") for model in models]
    bad = models[1::2]

    def together(holds: Callable[[Model], bool], what: str) -> None:
        def all_hold() -> bool:
            for model in models:
                model.hands.work()
            return all(holds(model) for model in models)

        models[0].until(all_hold, what, 120.0)

    for model in models:
        model.create(scaling={"minReplicas": 2})
    together(lambda model: model.phase == "Stable", "the first version serves")
    for model in bad:
        model.hands.behaviours["2.0.0"] = Behaviour(error_rate=1.0)
    for model in models:
        model.deploy("2.0.0")
    together(lambda model: model.phase == "Stable" and len(model.status["history"]) == 2, "the second one has ended")
    while killer.kills < KILLS:
        for model in models:
            model.hands.work()
    killer.stop()

    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(end, models, recordings))
    assert killer.kills >= KILLS
    assert ends[0] == ends[2]
    assert ends[1] == ends[3]
    assert ends[0]["weights"] == [0, 10, 50, 100, 0]
    assert ends[1]["weights"] == [0, 10, 0]
    assert [model.version("stable") for model in models] == ["2.0.0", "1.0.0"] * 2


def end(model: Model, recording: Recording) -> Body:
    """All that a rollout leaves behind, without its times and the namespace, and the ways that weights and sizes took."""
    status = model.status
    sizes: dict[str, list[int]] = {}
    for _, body in recording.versions("Deployment"):
        sizes.setdefault(body["metadata"]["name"], []).append(body["spec"]["replicas"])
    weights = [
        int(body["metadata"]["annotations"][WEIGHT])
        for _, body in recording.versions("Ingress")
        if body["metadata"]["name"] == "fraud-candidate"
    ]
    return {
        "weights": without_repetitions(weights),
        "sizes": {name: without_repetitions(each) for name, each in sizes.items()},
        "stable": status["stable"],
        "history": [(entry["revision"], entry["outcome"]) for entry in status["history"]],
        "rejected": [(entry["revision"], entry["reason"]) for entry in status.get("rejected", [])],
        "conditions": [(each["type"], each["status"], each["reason"]) for each in status["conditions"]],
        "children": {
            kind: sorted(model.names(kind)) for kind in ("Deployment", "Service", "Ingress", "PodDisruptionBudget")
        },
        "selectors": {each["metadata"]["name"]: each["spec"]["selector"] for each in model.children("Service")},
    }


def without_repetitions(values: list[int]) -> list[int]:
    return [value for value, _ in groupby(values)]
