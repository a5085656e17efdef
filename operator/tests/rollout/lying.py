"""A world that lies: what the operator sees is late, its passes come too often or not at all, it dies in mid-pass, its clock
jumps, and proxies follow a route some seconds after it was written. What is true is kept apart, and judged.

With a route its weight makes the candidate's share; without one the ready pods behind the stable Service do. Autoscalers
follow the load of their pods."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.analysis import judge
from haldane.plan.annotations import paused
from haldane.plan.asking import instant, queries
from haldane.plan.capacity import autoscaled, candidate_size, has_route, is_autoscaled, wanted_pods
from haldane.plan.clock import caught_up
from haldane.plan.deadlines import deadline
from haldane.plan.observed import Observed
from haldane.plan.rejection import standing_rejection
from haldane.plan.revision import Revision, revision_hash
from haldane.plan.rollout import step
from haldane.plan.situation import Decision
from haldane.plan.status import compose
from haldane.plan.strategy import in_effect

from .asked import examine_gates
from .world import World

PASSES_AT_ONCE = 6
"""Passes that may follow each other in one second, each because the one before changed something."""
POD_RATE = 50
"""Requests a second that an autoscaler wants of each pod."""
AUTOSCALED_EVERY = 5
"""Seconds between two looks of the autoscalers."""


@dataclass
class Route:
    """Where requests go."""

    serving: str | None = None
    behind: str | None = None
    """The revision behind the candidate Service."""
    weight: int = 0
    selected: tuple[str, ...] = ()
    """The revisions behind the stable Service."""


@dataclass
class LyingWorld(World):
    """See above; all the lies are off until a test turns them on."""

    lag: int = 0
    """Seconds by which readiness and endpoints are seen late."""
    proxy_lag: int = 0
    """Seconds by which proxies follow the route; less than what the engine waits for them."""
    skew: timedelta = timedelta(0)
    """What the operator's clock is ahead."""
    late: int = 0
    """Seconds that Prometheus takes."""
    deaf: bool = False
    """Whether events are lost, so that only a pass's own wish brings the next one."""
    dies_after: int | None = None
    """Effects after which the operator dies in the next pass that changes status."""
    away: int = 2
    """Seconds until there is another one then."""
    dead_until: int = 0
    spoiled: bool = False
    """Whether pods that served were harmed: then requests may be lost, and it is nobody's fault."""
    excused_until: int = 0
    recreating: bool = False
    behind: str | None = None
    selected: tuple[str, ...] = ()
    autoscalers: dict[str, int] = field(default_factory=dict)
    """How many pods each leaves its revision at least."""
    carried: int = 0
    """Pods that carried everything when the rollout began."""
    born: dict[str, int] = field(default_factory=dict)
    """When each Deployment was made, in seconds: one of the same name later is another."""
    routes: list[Route] = field(default_factory=list)
    truths: list[tuple[Observed, dict[str, int]]] = field(default_factory=list)
    due: int = 0
    second: int = 0
    news: Any = None

    def truth(self) -> Observed:
        """What is the case."""
        seen = super().observe()
        behind = {self.behind: self.ready(self.behind)} if self.behind else {}
        selected = {revision: self.ready(revision) for revision in self.selected}
        weight = seen.route_weight if has_route(self.md) else None
        leads = None if not self.selected else self.selected[0] if len(self.selected) == 1 else ""
        return replace(
            seen,
            stable_endpoints=selected,
            candidate_endpoints=behind,
            stable_leads=leads,
            candidate_leads=self.behind,
            route_weight=weight,
        )

    def observe(self) -> Observed:
        """What the operator sees: its own writes at once, everything else late."""
        fresh = self.truth()
        old, born = self.truths[-min(self.lag, len(self.truths))] if self.lag and self.truths else (fresh, self.born)
        revisions = {}
        for name, pods in fresh.revisions.items():
            known = old.revisions.get(name) if born.get(name) == self.born.get(name) else None
            ready, problem, present = (known.ready, known.problem, known.present) if known else (0, None, 0)
            askable = known.askable if known else ()
            revisions[name] = replace(pods, ready=ready, problem=problem, present=present, askable=askable)
        return replace(
            fresh,
            revisions=revisions,
            stable_endpoints=old.stable_endpoints,
            candidate_endpoints=old.candidate_endpoints,
        )

    def one_pass(self) -> bool:
        """One reconcile, unless nobody is there; whether it changed anything."""
        if self.second < self.dead_until:
            return False
        clock = self.now + self.skew
        asked_at = clock - timedelta(seconds=self.late)
        md = caught_up(in_effect(self.md), clock)
        answers = {
            key: self.answer(promql, asked_at - instant(md, key, asked_at))
            for key, promql in queries(md, asked_at).items()
        }
        analysis = judge(md, answers, asked_at)
        revision = revision_hash(md)
        target = Revision(revision, self.versions[revision], None, {})
        observed = self.observe()
        report = self.report(md, observed, clock)
        decision = step(md, target, observed, analysis, clock, report)
        assert step(md, target, observed, analysis, clock, report) == decision, (
            "a step taken twice gives the same state"
        )
        self.examine(md, observed, decision)
        self.examine_claims(md, observed, decision)
        self.events += decision.events
        before, self.status = self.status, decision.status.to_wire()
        changed = self.status != before
        effects, self.dies_after = (self.dies_after if changed else None), (None if changed else self.dies_after)
        self.act(md.status, decision.status, observed, effects)
        wish = decision.requeue_after
        asleep = 10**9 if wish is None else max(1, round(wish.total_seconds()))
        self.due = self.second + asleep
        if effects is not None:
            self.due = self.dead_until = self.second + self.away
        return changed and effects is None

    def examine(self, md: ModelDeployment, observed: Observed, decision: Decision) -> None:
        """What must hold of every decision."""
        old, new = md.status, decision.status
        rollout = new.rollout
        assert 0 <= rollout.weight <= 100
        assert rollout.phase == "Stable" or decision.requeue_after is not None, "somebody looks again"
        ends = deadline(md.model_copy(update={"status": new}))
        assert rollout.phase in ("Stable", "Watching") or ends is not None, "no phase without a deadline"
        states = [state.revision for state in (new.stable, new.candidate, new.previous) if state]
        assert len(states) == len(set(states)), "a revision has one part"
        if rollout.weight > old.rollout.weight and new.candidate:
            name = new.candidate.revision
            assert observed.pods(name).ready > 0, "no weight without pods that were seen ready"
            assert not paused(md), "a pause holds"
            if self.gates and old.rollout.weight == 0:
                examine_gates(self, md, new)
            if self.is_fair:
                assert self.ready(name) > 0, "no weight without ready pods"
        begins = new.candidate and (old.candidate is None or old.candidate.revision != new.candidate.revision)
        if begins and new.candidate and rollout.phase == "Preparing":
            assert not standing_rejection(md, old.rejected, new.candidate.revision), "rejected stays rejected"
            assert not paused(md), "a pause holds"
        if rollout.phase == "Watching" and old.rollout.phase == "Promoting" and new.stable:
            assert {name for name, ready in observed.stable_endpoints.items() if ready} == {new.stable.revision}
        if rollout.phase in ("Progressing", "Promoting") and rollout.weight and new.candidate and new.stable:
            enough = candidate_size(md, rollout.weight, md.spec.scaling.min_replicas)
            assert new.candidate.replicas >= enough, "the share has its pods"
        if new.stable and new.candidate and rollout.strategy != "Recreate" and rollout.phase != "RollingBack":
            assert new.stable.replicas >= md.spec.scaling.min_replicas, "stable can carry everything"
            if begins:
                self.carried = new.stable.replicas
            highest = md.spec.scaling.max_replicas if is_autoscaled(md) else 0
            assert new.stable.replicas >= min(self.carried, highest or 0), "and goes on to be able to"
        self._examine_approval(md, new)

    def examine_claims(self, md: ModelDeployment, observed: Observed, decision: Decision) -> None:
        """What is told must have been seen."""
        told = compose(md, decision.status, observed, self.now + self.skew)
        for state in (told.stable, told.candidate, told.previous):
            assert state is None or state.ready_replicas == observed.pods(state.revision).ready
        holds = {condition.type for condition in told.conditions if condition.status == "True"}
        serving = observed.pods(told.stable.revision).ready if told.stable else 0
        assert ("Available" in holds) == (serving > 0)
        if "Ready" in holds:
            assert serving > 0
            assert told.stable, "somebody serves"
            assert told.stable.revision == revision_hash(md), "ready is what spec asks for"
        assert not {"Reconciling", "Stalled"} <= holds
        before, after = md.status.history, decision.status.history
        if (
            after
            and after != before
            and after[-1].outcome == "Promoted"
            and decision.status.rollout.phase == "Watching"
        ):
            assert serving > 0 or self.spoiled or not self.is_fair, "nothing without pods is promoted"

    @staticmethod
    def _examine_approval(md: ModelDeployment, new: ModelDeploymentStatus) -> None:
        old = md.status.rollout
        if old.phase != "Progressing" or new.candidate is None or new.rollout.phase not in ("Progressing", "Promoting"):
            return
        left = new.rollout.phase == "Promoting" or new.rollout.step != old.step
        steps = md.spec.rollout.steps
        if left and steps[min(old.step or 0, len(steps) - 1)].approval:
            approved = old.approved or "approve" in str(new.verbs)
            assert approved or "was promoted" in (new.rollout.waived or ""), "no step is left without its approval"

    def act(
        self, before: ModelDeploymentStatus, status: ModelDeploymentStatus, observed: Observed, effects: int | None
    ) -> None:
        """Let the cluster follow, in the order of `control.converge`; only the first `effects` when the operator dies."""
        less = status.rollout.weight < max(before.rollout.weight, observed.route_weight or 0)
        moved = before.stable and status.stable and before.stable.revision != status.stable.revision
        steps = [self._size, self._select, self._route, self._prune]
        if less or moved:
            steps = [self._route, self._select, self._size, self._prune]
        for effect in steps[:effects]:
            effect(status)

    def _size(self, status: ModelDeploymentStatus) -> None:
        owned = autoscaled(in_effect(self.md), status)
        for revision, size in wanted_pods(status).items():
            is_new = revision not in self.pods
            if is_new:
                self.born[revision] = self.second
                self.pods[revision] = []
            if is_new or revision not in owned or not self.pods[revision]:
                self._resize(revision, size)
        self.autoscalers = owned

    def _resize(self, revision: str, size: int) -> None:
        starts_in = timedelta(seconds=self.behaviours[self.versions[revision]].starts_in)
        self.pods[revision] += [self.now + starts_in] * (size - len(self.pods[revision]))
        self.end(revision, size)

    def autoscale(self) -> None:
        """Give the pods that autoscalers own what their load asks for."""
        highest = self.md.spec.scaling.max_replicas or 0
        for revision, least in self.autoscalers.items():
            if self.pods.get(revision):
                load = sum(second[revision][0] for second in self.counts[-AUTOSCALED_EVERY:] if revision in second)
                asked = math.ceil(load / AUTOSCALED_EVERY / POD_RATE)
                self._resize(revision, min(highest, max(least, asked)))

    def _select(self, status: ModelDeploymentStatus) -> None:
        if status.stable:
            self.serving = status.stable.revision
            self.behind = (status.candidate or status.stable).revision
            self.selected = (self.serving,)
            weight = status.rollout.weight
            if status.candidate and weight and not has_route(self.md):
                self.selected = (self.behind,) if weight >= 100 else (self.serving, self.behind)

    def _route(self, status: ModelDeploymentStatus) -> None:
        self.route_weight = status.rollout.weight

    def _prune(self, status: ModelDeploymentStatus) -> None:
        for revision in set(self.pods) - set(wanted_pods(status)):
            self.end(revision, 0)
            del self.pods[revision]
            self.born.pop(revision)

    @property
    def is_fair(self) -> bool:
        """Whether a lost request is the engine's fault."""
        recreates = self.status and self.status["rollout"].get("strategy") == "Recreate"
        # A rollout that ended before its time leaves stable's own pods still to come, however long they take.
        self.recreating = bool(recreates) or (self.recreating and not (self.serving and self.ready(self.serving)))
        if self.recreating:
            self.excused_until = self.second + 20  # until its pods are all there again
        served = self.status and self.status.get("history")
        return bool(served) and not self.spoiled and self.second >= self.excused_until

    def traffic(self) -> None:
        """One second of requests through the route as proxies know it."""
        self.routes.append(Route(self.serving, self.behind, self.route_weight, self.selected))
        route = self.routes[-1 - min(self.proxy_lag, len(self.routes) - 1)]
        shares = self._by_weight(route) if has_route(self.md) else self._by_pods(route)
        second: dict[str, tuple[float, float, float]] = {}
        for revision, share in shares.items():
            if not self.ready(revision):
                assert not self.is_fair, f"{share:.0%} of the requests meet no ready pod of {self.versions[revision]}"
                continue
            behaviour = self.behaviours[self.versions[revision]]
            requests = self.rate * share
            second[revision] = (requests, requests * behaviour.error_rate, behaviour.latency)
        self.counts.append(second)

    @staticmethod
    def _by_weight(route: Route) -> dict[str, float]:
        shares: dict[str, float] = {}
        for name, weight in ((route.serving, 100 - route.weight), (route.behind, route.weight)):
            if name and weight:
                shares[name] = shares.get(name, 0.0) + weight / 100
        return shares

    def _by_pods(self, route: Route) -> dict[str, float]:
        """Requests go to ready pods alone, as long as there are any."""
        ready = {name: self.ready(name) for name in route.selected if name in self.versions}
        pods = sum(ready.values())
        if not pods:
            return {name: 1.0 / len(ready) for name in ready}
        return {name: count / pods for name, count in ready.items() if count}

    def run(self, seconds: int, until: Any = None) -> LyingWorld:
        """Advance; passes come when they were wished for and, unless events are lost, when something is seen to change."""
        for _ in range(seconds):
            self.truths.append((self.truth(), dict(self.born)))
            asked = (self.md.spec, dict(self.annotations), self.observe())
            heard = not self.deaf and asked != self.news
            if self.second >= self.due or heard:
                self.news = asked
                for _ in range(PASSES_AT_ONCE):
                    if not self.one_pass():
                        break
            self.traffic()
            if self.second % AUTOSCALED_EVERY == 0:
                self.autoscale()
            self.now += timedelta(seconds=1)
            self.second += 1
            if until and until(self):
                break
        return self
