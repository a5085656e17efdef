"""A world that lies: what the operator sees is late, its passes come too often or not at all, it dies in mid-pass, its clock
jumps, and proxies follow a route some seconds after it was written. What is true is kept apart, and judged.

With a route its weight makes the candidate's share; without one the ready pods behind the stable Service do. Autoscalers
follow the load of their pods."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import autoscaled, has_route, wanted_pods
from haldane.plan.clock import Instant, in_time
from haldane.plan.observed import Observed
from haldane.plan.revision import Revision, revision_hash
from haldane.plan.rollout import step
from haldane.plan.strategy import in_effect
from haldane.plan.traffic.service import behind_candidate

from . import looking, routes
from .ends import Losses
from .laws import examine
from .looking import Look
from .patience import Patience
from .routes import Route
from .seconds import LOOK, Bare, Capacity, Stint
from .world import World

PASSES_AT_ONCE = 6
"""Passes that may follow each other in one second, each because the one before changed something."""
POD_RATE = 50
"""Requests a second that an autoscaler wants of each pod."""
AUTOSCALED_EVERY = 5
"""Seconds between two looks of the autoscalers."""


class Truth(NamedTuple):
    """What was the case in some second: surroundings, when each Deployment was made, and the object."""

    seen: Observed
    born: dict[str, int]
    spec: dict[str, Any]
    annotations: dict[str, str]


@dataclass
class LyingWorld(World):
    """See above; all the lies are off until a test turns them on."""

    lag: int = 0
    """Seconds by which everything is seen late that the operator has not written itself."""
    proxy_lag: int = 0
    """Seconds by which proxies follow the route; less than what the engine waits for them."""
    skew: timedelta = timedelta(0)
    """What the operator's clock is ahead."""
    late: int = 0
    """Seconds that Prometheus takes."""
    heedless: bool = False
    """Whether its answers count although the object has changed since they were asked for."""
    deaf: bool = False
    """Whether events are lost, so that only a pass's own wish brings the next one."""
    dies_after: int | None = None
    """Effects after which the operator dies in the next pass that changes status."""
    away: int = 2
    """Seconds until there is another one then."""
    refused: frozenset[str] = frozenset()
    """Kinds of objects that the API server does not let the operator write."""
    dead_until: int = 0
    passed: Instant | None = None
    """When a pass of the process that lives last left status as it is."""
    excused_until: int = 0
    recreating: bool = False
    lost: dict[str, int] = field(default_factory=dict)
    """When harm took the last ready pod of a revision that has had none since, in seconds."""
    harmed: set[str] = field(default_factory=set)
    """Revisions of which harm took ready pods, until as many are ready as there are to be."""
    behind: str | None = None
    selected: tuple[str, ...] = ()
    autoscalers: dict[str, int] = field(default_factory=dict)
    """How many pods each leaves its revision at least."""
    carried: int = 0
    """Pods that carried everything when the rollout began."""
    born: dict[str, int] = field(default_factory=dict)
    """When each Deployment was made, in seconds: one of the same name later is another."""
    routes: list[Route] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    known: int = 0
    """The second in which the object was as it was last seen: what is seen next is no older."""
    look: Look | None = None
    due: int = 0
    second: int = 0
    news: Any = None
    losses: Losses = field(default_factory=Losses)
    bare: Bare = field(default_factory=Bare)
    capacity: Capacity = field(default_factory=Capacity)
    stint: Stint = field(default_factory=Stint)
    patience: Patience = field(default_factory=Patience)
    decided_on: Any = None
    """The object as the last pass took it."""

    @property
    def blindness(self) -> int:
        """Seconds that may pass until a pass sees what is the case."""
        return self.lag + (LOOK if self.deaf else 0)

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

    def _past(self) -> Truth:
        """What is seen now of what others write."""
        if not self.lag or not self.truths:
            return Truth(self.truth(), self.born, self.spec, self.annotations)
        return self.truths[-min(self.lag, len(self.truths))]

    def observe(self) -> Observed:
        """What the operator sees of the children."""
        fresh, past = self.truth(), self._past()
        revisions = {}
        for name, pods in fresh.revisions.items():
            known = past.seen.revisions.get(name) if past.born.get(name) == self.born.get(name) else None
            ready, problem, present = (known.ready, known.problem, known.present) if known else (0, None, 0)
            askable = known.askable if known else ()
            replicas = known.replicas if known and name in self.autoscalers else pods.replicas
            revisions[name] = replace(
                pods, replicas=replicas, ready=ready, problem=problem, present=present, askable=askable
            )
        return replace(past.seen, revisions=revisions)

    def sight(self) -> ModelDeployment:
        """What the operator sees of the object: its status as it wrote it, the rest late."""
        self.known = max(self.known, self.second - self.lag)
        truths = self.truths[self.known :]
        md = self.md
        if not truths or (truths[0].spec, truths[0].annotations) == (self.spec, self.annotations):
            return md
        now = self.spec, self.annotations
        self.spec, self.annotations = truths[0].spec, truths[0].annotations
        old = self.md
        self.spec, self.annotations = now
        return old

    def one_pass(self) -> bool:
        """One reconcile, unless nobody is there; whether it changed anything."""
        if self.second < self.dead_until:
            return False
        clock = self.now + self.skew
        sight = self.sight()
        instant = Instant(clock, float(self.second))
        md = in_time(in_effect(sight), instant, self.passed)
        look = looking.look(self, sight, md, clock)
        waits = look is not None and look.second > self.second
        analysis = look.analysis if look and not waits else None
        now = look.at if look and not waits and clock - look.at <= looking.FRESH else clock
        revision = revision_hash(md)
        target = Revision(revision, self.versions[revision], None, {})
        observed = self.observe()
        report = self.report(md, observed, now)
        decision = step(md, target, observed, analysis, now, report, is_looking=waits)
        assert step(md, target, observed, analysis, now, report, is_looking=waits) == decision, (
            "a step taken twice gives the same state"
        )
        self.decided_on = md
        if look and waits and not looking.is_urgent(md, decision.status, observed):
            self.due = look.second  # the answers bring it back
            return False
        examine(self, md, observed, decision, now)
        self.patience.take(self, md, decision)
        self.losses.take(self, md, decision, now)
        self.rejections.take(md, decision)
        self.events += decision.events
        self.passed = instant
        before, self.status = self.status, decision.status.to_wire()
        changed = self.status != before
        effects, self.dies_after = (self.dies_after if changed else None), (None if changed else self.dies_after)
        self.act(md, decision.status, observed, effects)
        wish = decision.requeue_after
        asleep = 10**9 if wish is None else max(1, round(wish.total_seconds()))
        self.due = self.second + asleep
        if look and waits:
            self.due = min(self.due, look.second)
        if effects is not None:
            self.due = self.dead_until = self.second + self.away
            self.look = self.passed = None
        return changed and effects is None

    def act(self, md: ModelDeployment, status: ModelDeploymentStatus, observed: Observed, effects: int | None) -> None:
        """Let the cluster follow, in the order of `control.converge`; only the first `effects` when the operator dies."""
        steps = [self._size, self._select, self._route, self._prune]
        if looking.reroutes(md, status, observed):
            steps = [self._route, self._select, self._size, self._prune]
        if self.refused:
            steps.remove(self._prune)  # nothing goes while something is refused
        for effect in steps[:effects]:
            effect(md, status)

    def _size(self, md: ModelDeployment, status: ModelDeploymentStatus) -> None:
        if "Deployment" in self.refused:
            return
        owned = autoscaled(md, status)
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

    def _select(self, md: ModelDeployment, status: ModelDeploymentStatus) -> None:
        if status.stable and "Service" not in self.refused:
            self.serving = status.stable.revision
            self.behind = behind_candidate(status)
            self.selected = (self.serving,)
            weight = status.rollout.weight
            if status.candidate and weight and not has_route(md):
                self.selected = (self.behind,) if weight >= 100 else (self.serving, self.behind)

    def _route(self, md: ModelDeployment, status: ModelDeploymentStatus) -> None:
        if "Ingress" not in self.refused:
            self.route_weight = status.rollout.weight

    def _prune(self, md: ModelDeployment, status: ModelDeploymentStatus) -> None:
        for revision in set(self.pods) - set(wanted_pods(status)):
            self.end(revision, 0)
            del self.pods[revision]
            self.born.pop(revision)

    def harm(self, change: Callable[[], None]) -> None:
        """Let something happen to pods that no engine can help."""
        before = {revision: self.ready(revision) for revision in self.pods}
        change()
        for revision, ready in before.items():
            if self.ready(revision) < ready:
                self.harmed.add(revision)
                if not self.ready(revision):
                    self.lost[revision] = self.second

    def _heal(self) -> None:
        self.lost = {name: at for name, at in self.lost.items() if name in self.pods and not self.ready(name)}
        self.harmed = {name for name in self.harmed if self.ready(name) < len(self.pods.get(name, []))}

    @property
    def is_fair(self) -> bool:
        """Whether a lost request is the engine's fault."""
        recreates = self.status and self.status["rollout"].get("strategy") == "Recreate"
        # A rollout that ended before its time leaves stable's own pods still to come, however long they take.
        self.recreating = bool(recreates) or (self.recreating and not (self.serving and self.ready(self.serving)))
        if self.recreating:
            self.excused_until = self.second + 20  # until its pods are all there again
        served = self.status and self.status.get("history")
        return bool(served) and self.second >= self.excused_until

    def traffic(self) -> None:
        """One second of requests through the route as proxies know it."""
        self.routes.append(Route(self.serving, self.behind, self.route_weight, self.selected))
        route = self.routes[-1 - min(self.proxy_lag, len(self.routes) - 1)]
        if has_route(self.md):
            shares = routes.by_weight(route)
        else:
            shares = routes.by_pods({name: self.ready(name) for name in route.selected if name in self.versions})
        self.bare.take(self, shares)
        second: dict[str, tuple[float, float, float]] = {}
        for revision, share in shares.items():
            if self.ready(revision):
                behaviour = self.behaviours[self.versions[revision]]
                requests = self.rate * share
                second[revision] = (requests, requests * behaviour.error_rate, behaviour.latency)
        self.counts.append(second)

    def run(self, seconds: int, until: Any = None) -> LyingWorld:
        """Advance; passes come when they were wished for and, unless events are lost, when something is seen to change."""
        for _ in range(seconds):
            if self.truths and (self.truths[-1].spec, self.truths[-1].annotations) == (self.spec, self.annotations):
                spec, annotations = self.truths[-1].spec, self.truths[-1].annotations
            else:
                spec, annotations = copy.deepcopy(self.spec), dict(self.annotations)
            self.truths.append(Truth(self.truth(), dict(self.born), spec, annotations))
            self._heal()
            sight = self.sight()
            asked = (sight.spec, sight.metadata.annotations, self.observe())
            heard = not self.deaf and asked != self.news
            if self.second >= self.due or heard:
                self.news = asked
                for _ in range(PASSES_AT_ONCE):
                    if not self.one_pass():
                        break
            self.traffic()
            md = in_effect(self.md)
            self.capacity.take(self, md)
            self.stint.take(self, md)
            if self.second % AUTOSCALED_EVERY == 0:
                self.autoscale()
            self.now += timedelta(seconds=1)
            self.second += 1
            if until and until(self):
                break
        return self
