"""What is rolled out, and on what service."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from haldane.api.v1alpha1 import ModelDeployment
from haldane.simulate.rollout import BEGIN
from haldane.simulate.traffic import Fault, Service, Surroundings, without_trouble

HORIZON = 3600
"""Seconds of each rollout that are counted, from when the new version is asked for: a fault that is promoted goes on."""

REALISTIC, INDEPENDENT, ROUGH = Service(), without_trouble(Service()), replace(Service(), group=1.5, hangs=2 / 3600)


@dataclass(frozen=True)
class Scenario:
    """One kind of candidate on one kind of service."""

    name: str
    title: str
    fault: Fault = field(default_factory=Fault)
    service: Service = REALISTIC

    def surroundings(self, seed: int, number: int) -> tuple[Surroundings, np.random.Generator]:
        """The surroundings of the rollout `number`; models differ in their latency, which buckets suit or do not."""
        random = np.random.default_rng((seed, number))
        median = float(np.exp(random.uniform(np.log(0.004), np.log(0.08))))
        return Surroundings.draw(replace(self.service, median=median), BEGIN + HORIZON, random), random


SAME = Scenario("same", "the same version again (A/A)")
MAIN = (
    SAME,
    Scenario("errors-2x", "2 % errors instead of 1 %", Fault(more_errors=0.01)),
    Scenario("errors-3x", "3 % errors instead of 1 %", Fault(more_errors=0.02)),
    Scenario("errors-10", "10 % errors", Fault(more_errors=0.09)),
    Scenario("errors-half", "half of the answers are errors", Fault(more_errors=0.49)),
    Scenario("p99-30", "30 % slower", Fault(latency=1.3)),
    Scenario("slow-2x", "twice as slow", Fault(latency=2.0)),
    Scenario("errors-late", "10 % errors, 20 minutes after its first request", Fault(more_errors=0.09, begins=1200.0)),
)
SENSITIVITY = tuple(
    Scenario(f"{kind}-{name}", f"{title}; {kind_title}", fault, service)
    for kind, kind_title, service in (
        ("independent", "independent requests, even traffic", INDEPENDENT),
        ("rough", "errors in groups, pods that often hang", ROUGH),
        ("slow-traffic", "20 requests/s", replace(REALISTIC, rate=20.0)),
        ("fast-traffic", "1000 requests/s", replace(REALISTIC, rate=1000.0)),
    )
    for name, title, fault in (
        ("same", "the same version again", Fault()),
        ("errors-2x", "2 % errors instead of 1 %", Fault(more_errors=0.01)),
        ("p99-30", "30 % slower", Fault(latency=1.3)),
    )
)
ALL = {scenario.name: scenario for scenario in (*MAIN, *SENSITIVITY)}


def by_default() -> ModelDeployment:
    """A ModelDeployment whose rollout says nothing: the default steps, analysis and checks."""
    spec: dict[str, Any] = {
        "model": {"uri": "s3://models/fraud/2/", "version": "2"},
        "scaling": {"minReplicas": 5},
        "traffic": {"host": "fraud.example.com", "ingress": {"className": "nginx"}},
    }
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "payments", "uid": "u", "generation": 1},
            "spec": spec,
        }
    )
