"""What must hold of a lying world in every second of it, and what was the case before that it is judged by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.annotations import paused
from haldane.plan.capacity import is_autoscaled
from haldane.plan.clock import LAST_CHANCE
from haldane.plan.rollout import LOOK_AGAIN
from haldane.plan.route import WITHOUT_PODS
from haldane.plan.status import compose
from haldane.plan.stuck import REASON
from haldane.plan.transitions import ROUTE_SETTLE

if TYPE_CHECKING:
    from .lying import LyingWorld

LOOK = round(LOOK_AGAIN.total_seconds())
"""Seconds until a pass comes, though no event brings it."""
REACTION = 4
"""Seconds that a share may lead to pods that are gone, beside what it takes until that is seen and until proxies follow."""
SETTLING = 2 * round(ROUTE_SETTLE.total_seconds())
"""More of them for stable: a Service that was just moved may be what is late, and is moved again after an operator's death."""
GIVING_UP = round(WITHOUT_PODS.total_seconds()) + 3
"""More of them where nobody may write the route: until it is waited for no longer, and the Service moves instead."""
OVERRUN = 20
"""Seconds that a phase may last beyond its deadline: the engine looks every 10 s at least, and lets routes settle."""
LEAST_TRIED = 30
"""Seconds for which pods are asked at least, before a deadline that was their own decides without an answer."""
ENOUGH = 200
"""Requests a second that decide every check of the tests."""


@dataclass
class Bare:
    """Shares that lead to pods that were harmed, while others are ready: for how long somebody could have acted."""

    seconds: dict[str, int] = field(default_factory=dict)
    patience: dict[str, int] = field(default_factory=dict)
    """Seconds that it may last, by the most that stood in the way meanwhile."""

    def take(self, world: LyingWorld, shares: dict[str, float]) -> None:
        """One second of requests."""
        bare = {name for name in shares if not world.ready(name)}
        self.seconds = {name: count for name, count in self.seconds.items() if name in bare and _others(world, name)}
        self.patience = {name: most for name, most in self.patience.items() if name in self.seconds}
        for name in bare if world.is_fair else ():
            where = f"{shares[name]:.0%} of the requests meet no ready pod of version {world.versions[name]}"
            assert name in world.lost, where
            if not _others(world, name) or world.second < world.dead_until:
                continue
            patience = REACTION + world.blindness + world.proxy_lag
            if name == _revision(world, "stable"):
                patience += SETTLING
            if "Ingress" in world.refused:
                patience += GIVING_UP
            self.seconds[name] = self.seconds.get(name, 0) + 1
            self.patience[name] = max(patience, self.patience.get(name, 0))
            assert self.seconds[name] <= self.patience[name], f"{where}, and nothing is done about it"


def _others(world: LyingWorld, name: str) -> bool:
    """Whether pods are ready that would have to take over: stable's from a candidate, the previous one's from stable."""
    role = "previous" if name == _revision(world, "stable") else "stable"
    other = _revision(world, role)
    return other is not None and world.ready(other) > 0


def _revision(world: LyingWorld, role: str) -> str | None:
    return (world.status.get(role) or {}).get("revision")


@dataclass
class Capacity:
    """How many pods of what the stable Service leads to were ready and have to stay so: of themselves they live."""

    serving: str | None = None
    ready: int = 0
    needed: int = 0
    """What sufficed a second ago: an autoscaler may have taken the rest since, and what is asked for now takes time."""
    began: bool = False
    """Whether status named a candidate a second ago."""

    def take(self, world: LyingWorld, now: ModelDeployment) -> None:
        """One second; `now` is the object at its end."""
        began, self.began = self.began, bool(world.status.get("candidate"))
        # What status says first is carried out in the second after it, by an operator that lives.
        follows = began and self.began and world.second > world.dead_until
        leads = world.serving if not world.status.get("candidate") or world.selected == (world.serving,) else None
        if not world.is_fair or leads is None or leads in world.harmed:
            self.serving = None
            return
        if leads != self.serving:
            self.serving, self.ready, self.needed = leads, 0, 0
        objects = [now, world.decided_on]
        needed = min(md.spec.scaling.min_replicas for md in objects)
        if follows and all(is_autoscaled(md) for md in objects):
            needed = max(needed, min(world.carried, *(md.spec.scaling.max_replicas or 0 for md in objects)))
        ready = world.ready(leads)
        kept, self.needed = min(self.ready, needed, self.needed), needed
        self.ready = max(ready, kept)
        assert ready >= kept, "stable keeps the pods that carry everything"


@dataclass
class Stint:
    """For how long a phase has lasted without anybody giving it a reason to begin anew."""

    what: Any = None
    began: int = 0

    def take(self, world: LyingWorld, md: ModelDeployment) -> None:
        """One second; `md` is the object at its end."""
        status = md.status
        rollout, stable, candidate = status.rollout, status.stable, status.candidate
        surroundings = (world.spec, world.annotations, world.behaviours, world.skew, world.prometheus_down, world.rate)
        what = (
            rollout.phase,
            rollout.step,
            rollout.weight,
            stable and stable.revision,
            candidate and (candidate.revision, candidate.replicas > 0),
            status.previous and status.previous.revision,
            repr((*surroundings, sorted(world.refused))),
            # A promoted version without pods has its own time to get them back.
            rollout.phase == "Watching" and stable and world.ready(stable.revision) > 0,
        )
        if what != self.what or not self._counts(world, md):
            self.what, self.began = what, world.second
        lasted = world.second - self.began
        if rollout.phase in ("Stable", "Initializing"):
            return
        if lasted > self._limit(world, md) + OVERRUN + world.late:
            assert self._is_told(world, md), f"{rollout.phase} goes on: {rollout.message}"

    @staticmethod
    def _is_told(world: LyingWorld, md: ModelDeployment) -> bool:
        """Whether it waits for a route that nobody may write, with no way back that is not the same, and says so."""
        if "Ingress" not in world.refused or md.status.rollout.phase not in ("Promoting", "Watching"):
            return False
        told = compose(md, md.status, world.observe(), world.now + world.skew, "the Ingress is refused").conditions
        stalled = next((each for each in told if each.type == "Stalled"), None)
        return stalled is not None and stalled.reason == REASON and "the Ingress is refused" in stalled.message

    @staticmethod
    def _counts(world: LyingWorld, md: ModelDeployment) -> bool:
        """Whether it is the engine's to end the phase."""
        rollout = md.status.rollout
        if world.second < world.dead_until or world.blindness or world.heedless or paused(md):
            return False
        stable = _revision(world, "stable")
        # To nobody can requests go back, or on. Recreate itself brings that about, and waits for nothing else to change.
        is_own = rollout.strategy == "Recreate" or rollout.phase == "Watching"
        if stable and not world.ready(stable) and not is_own:
            return False
        if rollout.phase == "Progressing" and world.refused:
            return False
        if "Service" in world.refused and rollout.phase != "Promoting":
            return False
        if rollout.phase == "Progressing":
            step = md.spec.rollout.steps[min(rollout.step or 0, len(md.spec.rollout.steps) - 1)]
            if step.approval and not rollout.approved:
                return False
        if md.spec.rollout.analysis.on_inconclusive != "Hold":
            return True
        held = any(check.verdict != "Pass" for check in rollout.checks) or world.prometheus_down or world.rate < ENOUGH
        asks = any(gate.verdict == "Inconclusive" for gate in rollout.gates)
        return not (asks or (rollout.phase == "Progressing" and held))

    @staticmethod
    def _limit(world: LyingWorld, md: ModelDeployment) -> int:
        spec, phase, stable = md.spec.rollout, md.status.rollout.phase, md.status.stable
        if phase == "Watching" and stable and world.ready(stable.revision):
            watch = max(parse_duration(spec.keep_stable_for), parse_duration(spec.watch_after_promotion))
            return round(watch.total_seconds())
        limit = parse_duration(spec.progress_deadline)
        if "Deployment" in world.refused:
            limit *= 2  # pods that were not asked for yet have it once more
        if phase == "Progressing":
            limit += max(parse_duration(step.hold) for step in spec.steps)
        limit += (md.status.rollout.last_chances or 0) * LAST_CHANCE
        return round(limit.total_seconds()) + LEAST_TRIED
