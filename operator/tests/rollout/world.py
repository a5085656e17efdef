"""A small world for the rollout engine: pods that take time, a route that follows, traffic that is counted, exact time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.analysis import judge
from haldane.plan.asking import instant, queries
from haldane.plan.capacity import has_route, wanted_pods
from haldane.plan.gates import Inquiry, Report, Subject, inquiry
from haldane.plan.observed import Answer, Event, Observed, Problem, RevisionPods, Series, Unavailable
from haldane.plan.revision import Revision, revision_hash
from haldane.plan.rollout import step
from haldane.plan.strategy import in_effect

from .asked import found
from .laws import Rejections

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, math.inf)


@dataclass
class Behaviour:
    """How the pods of one version behave."""

    starts_in: float = 3.0
    ends_in: float = 2.0
    never_ready: bool = False
    hangs: bool = False
    error_rate: float = 0.0
    latency: float = 0.008
    crashed: bool = False
    mute: bool = False
    """Whether its pods cannot be asked, though they are ready."""
    classes: int = 10
    """Part of its signature; 0: it tells none."""
    nonfinite: bool = False
    nonfinite_rate: float = 0.0
    idle: float = 0.004
    """Seconds that an idle pod takes for an answer."""


@dataclass
class World:
    """One ModelDeployment and its surroundings, advanced second by second."""

    spec: dict[str, Any]
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    rate: int = 200
    prometheus_down: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    managers: dict[str, str] = field(default_factory=dict)
    previewed: float = 0.0
    ending: dict[str, list[datetime]] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, list[datetime]] = field(default_factory=dict)
    route_weight: int = 0
    serving: str | None = None
    counts: list[dict[str, tuple[float, float, float]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    stranded: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    gates: bool = False
    late: int = 0
    """Seconds that answers take."""
    asked: list[Inquiry] = field(default_factory=list)
    errand: tuple[Subject, datetime] | None = None
    autoscaled: set[str] = field(default_factory=set)
    """Revisions whose pods an autoscaler has made: more or fewer than asked for stay."""
    rejections: Rejections = field(default_factory=Rejections)

    def deploy(self, version: str) -> str:
        """Put another model into spec; gives its revision."""
        self.spec["model"] = {"uri": f"s3://models/fraud/{version}/", "version": version}
        revision = revision_hash(self.md)
        self.versions[revision] = version
        self.behaviours.setdefault(version, Behaviour())
        return revision

    @property
    def md(self) -> ModelDeployment:
        """The object as the API server would give it."""
        return ModelDeployment.from_wire(
            {
                "apiVersion": "haldane.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {
                    "name": "fraud",
                    "namespace": "payments",
                    "uid": "u",
                    "generation": 1,
                    "annotations": self.annotations,
                    "managedFields": [
                        {"manager": who, "fieldsV1": {"f:metadata": {"f:annotations": {f"f:haldane.dev/{verb}": {}}}}}
                        for verb, who in self.managers.items()
                    ],
                },
                "spec": self.spec,
                "status": self.status,
            }
        )

    @property
    def phase(self) -> str:
        """`status.rollout.phase`."""
        return str(self.status["rollout"]["phase"])

    def version(self, role: str) -> str | None:
        """The version in a role of status: stable, candidate or previous."""
        found = self.status.get(role)
        return found["version"] if found else None

    def ready(self, revision: str) -> int:
        """Ready pods of a revision."""
        behaviour = self.behaviours[self.versions[revision]]
        if behaviour.never_ready or behaviour.hangs or behaviour.crashed:
            return 0
        return sum(at <= self.now for at in self.pods.get(revision, []))

    def observe(self) -> Observed:
        """What the operator would see now."""
        seen = {}
        for revision, pods in self.pods.items():
            behaviour = self.behaviours[self.versions[revision]]
            problem = None
            if behaviour.crashed:
                problem = Problem("CrashLoopBackOff", "exit code 1", crashed=True)
            elif behaviour.never_ready:
                problem = Problem("ImagePullBackOff", "no such image")
            present = len(pods) + sum(at > self.now for at in self.ending.get(revision, []))
            askable = tuple(f"{revision}-{number}" for number in range(self.ready(revision)))
            seen[revision] = RevisionPods(revision, len(pods), self.ready(revision), problem, present, askable)
        candidate = (self.status.get("candidate") or self.status.get("stable") or {}).get("revision")
        return Observed(
            revisions=seen,
            stable_endpoints={self.serving: self.ready(self.serving)} if self.serving else {},
            candidate_endpoints={candidate: self.ready(candidate)} if candidate else {},
            route_weight=self.route_weight,
        )

    def one_pass(self) -> bool:
        """One reconcile: evaluate what is due, decide, and let the surroundings follow the status; whether it changed."""
        md = in_effect(self.md)
        answers = {
            key: self.answer(promql, self.now - instant(md, key, self.now))
            for key, promql in queries(md, self.now).items()
        }
        analysis = judge(md, answers, self.now)
        revision = revision_hash(md)
        target = Revision(revision, self.versions[revision], None, {})
        observed = self.observe()
        report = self.report(md, observed, self.now)
        decision = step(md, target, observed, analysis, self.now, report)
        again = step(md, target, observed, analysis, self.now, report)
        assert again == decision, "a step taken twice gives the same state"
        self.rejections.take(md, decision)
        self.events += decision.events
        before, self.status = self.status, decision.status.to_wire()
        self.follow()
        return self.status != before

    def report(self, md: ModelDeployment, observed: Observed, now: datetime) -> Report | None:
        """What is known of the gates in a pass: what one asks for is there in a later one. Nothing where they are off."""
        if not self.gates:
            return None
        wanted = inquiry(md, revision_hash(md), observed, now)
        if wanted is None or self.errand is None or self.errand[0] != wanted.subject:
            self.errand = (wanted.subject, self.now + timedelta(seconds=self.late)) if wanted else None
            return Report()
        if self.now < self.errand[1]:
            return Report()
        self.asked.append(wanted)
        return Report(found(self, wanted))

    def follow(self) -> None:
        """What the children's controllers do about the new status."""
        sizes = wanted_pods(self.md.status)
        for revision in list(self.pods):
            if revision not in sizes:
                self.end(revision, 0)
                del self.pods[revision]
        for revision, size in sizes.items():
            if revision in self.autoscaled and revision in self.pods:
                continue
            pods = self.pods.setdefault(revision, [])
            behaviour = self.behaviours[self.versions[revision]]
            pods += [self.now + timedelta(seconds=behaviour.starts_in)] * (size - len(pods))
            self.end(revision, size)
        weight = self.status["rollout"]["weight"]
        if not self.weights or self.weights[-1] != weight:
            self.weights.append(weight)
        self.route_weight = weight
        self.serving = self.status["stable"]["revision"]

    def end(self, revision: str, size: int) -> None:
        """Pods beyond the size end; what they hold is free when they have."""
        ends = self.now + timedelta(seconds=self.behaviours[self.versions[revision]].ends_in)
        self.ending.setdefault(revision, []).extend([ends] * len(self.pods[revision][size:]))
        del self.pods[revision][size:]

    def traffic(self) -> None:
        """One second of requests through the route as it stands."""
        candidate = (self.status.get("candidate") or self.status.get("stable") or {}).get("revision")
        shares = {self.serving: 1 - self.route_weight / 100}
        if (self.route_weight or self.previewed) and candidate:
            shares[candidate] = shares.get(candidate, 0.0) + self.route_weight / 100
        second: dict[str, tuple[float, float, float]] = {}
        for revision, share in shares.items():
            by_header = self.previewed if revision == candidate and self.phase == "Progressing" else 0.0
            if revision is None or (share == 0 and by_header == 0):
                continue
            requests = self.rate * share + by_header
            if not self.ready(revision):
                self.stranded += requests
                continue
            behaviour = self.behaviours[self.versions[revision]]
            second[revision] = (requests, requests * behaviour.error_rate, behaviour.latency)
        self.counts.append(second)

    def answer(self, promql: str, ago: timedelta = timedelta(0)) -> Answer:
        """What Prometheus would say to one of the engine's own queries, about a time that is so long past."""
        if self.prometheus_down:
            return Unavailable(self.prometheus_down)
        ranged, offset = re.search(r"\[(\d+)s\]", promql), re.search(r" offset (\d+)s", promql)
        window = int(ranged[1]) if ranged else len(self.counts)
        ago += timedelta(seconds=int(offset[1]) if offset else 0)
        wanted = re.search(r'revision=~"([^"]*)"', promql)[1].split("|")  # type: ignore[index]
        series: list[Series] = []
        for revision in wanted:
            until = len(self.counts) - round(ago.total_seconds())
            seconds = [s[revision] for s in self.counts[max(0, until - window) : max(0, until)] if revision in s]
            if not seconds:
                continue
            if "nonfinite" in promql or "inference_seconds_count" in promql:
                rate = self.behaviours[self.versions[revision]].nonfinite_rate if "nonfinite" in promql else 1.0
                series.append(Series({"revision": revision}, rate * sum(n for n, _, _ in seconds)))
            elif "by (revision, code)" in promql:
                errors = sum(e for _, e, _ in seconds)
                total = sum(n for n, _, _ in seconds)
                series.append(Series({"revision": revision, "code": "200"}, total - errors))
                series.append(Series({"revision": revision, "code": "500"}, errors))
            else:
                for bound in BOUNDS:
                    below = sum(n for n, _, latency in seconds if latency <= bound)
                    series.append(Series({"revision": revision, "le": str(bound)}, below))
        return tuple(series)

    def run(self, seconds: int, until: Callable[[World], bool] | None = None) -> World:
        """Advance; stops early when `until` holds."""
        for _ in range(seconds):
            self.one_pass()
            self.traffic()
            self.check()
            self.now += timedelta(seconds=1)
            if until and until(self):
                break
        return self

    def run_until(self, phase: str, seconds: int = 900) -> World:
        """Advance until a phase is reached; fails when it is not."""
        self.run(seconds, lambda w: w.phase == phase)
        assert self.phase == phase, f"still {self.phase} after {seconds} s: {self.status['rollout']['message']}"
        return self

    def check(self) -> None:
        """What must hold at every instant."""
        md = self.md
        rollout = self.status["rollout"]
        assert 0 <= rollout["weight"] <= 100
        if rollout["weight"] and rollout["phase"] == "Progressing":
            assert rollout["weight"] in [s.weight for s in in_effect(md).spec.rollout.steps]
        if rollout["weight"]:
            assert self.status.get("candidate") or self.status.get("previous")
        assert has_route(md) or rollout["phase"]


SPEC: dict[str, Any] = {
    "scaling": {"minReplicas": 2},
    "traffic": {"host": "fraud.example.com", "ingress": {"className": "nginx"}},
    "rollout": {
        "steps": [{"weight": 5, "hold": "20s"}, {"weight": 50, "hold": "20s"}],
        "analysis": {"interval": "5s", "window": "20s", "warmup": "5s", "minRequests": 50},
        "checks": [
            {"name": "errors", "errorRate": {"max": "1%", "abort": "20%"}},
            {"name": "p99", "latency": {"quantile": "0.99", "max": "100ms"}},
        ],
        "progressDeadline": "2m",
        "keepStableFor": "30s",
        "watchAfterPromotion": "30s",
    },
}
