"""The engine in a world that lies, driven at random: what must never happen does not, and honest surroundings lead to rest."""

from __future__ import annotations

import copy
import os
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .lying import LyingWorld
from .world import SPEC, Behaviour

VERSIONS = st.sampled_from(["1", "2", "3"])
THEN = st.sampled_from([0, 0, 1, 2, 5, 15, 40])
"""Seconds that pass after something has happened."""
PHASES = st.sampled_from(["Preparing", "Progressing", "Promoting", "Watching", "RollingBack"])
VALUES = st.sampled_from(["a", "b", "c"])
REFUSED = [[], ["Ingress"], ["Ingress"], ["Deployment"]]
ROLES = st.sampled_from(["stable", "stable", "candidate", "previous"])
PATIENCE = 180
"""Seconds after which a phase is overdue that should be over."""
REST = 1500
"""Seconds in which every rollout ends: the longest is one whose every phase takes until its deadline."""


class Machine(RuleBasedStateMachine):
    """Whatever users, pods, clocks and caches do in whatever order."""

    world: LyingWorld

    @initialize(
        replicas=st.integers(1, 3),
        proxy_lag=st.integers(0, 3),
        strategy=st.sampled_from(["Canary", "Canary", "BlueGreen", "Recreate"]),
        routed=st.booleans(),
        highest=st.sampled_from([None, 4, 12]),
        then=THEN,
    )
    def serve(self, replicas: int, proxy_lag: int, strategy: str, routed: bool, highest: int | None, then: int) -> None:
        self.world = LyingWorld(copy.deepcopy(SPEC), proxy_lag=proxy_lag, gates=True)
        self.world.behaviours |= {"3": Behaviour(classes=12)}
        self.world.spec["scaling"]["minReplicas"] = replicas
        if highest:
            self.world.spec["scaling"]["maxReplicas"] = highest
        if not routed:
            del self.world.spec["traffic"]
        self.world.spec["rollout"]["steps"] = [{"weight": 5, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
        self.world.spec["rollout"]["strategy"] = strategy
        self.world.deploy("1")
        self.world.run(20)
        self.world.deploy("2")
        self.world.run(then)

    @rule(phase=PHASES)
    def wait_for(self, phase: str) -> None:
        self.world.run(PATIENCE, lambda world: world.phase == phase)

    @rule(version=VERSIONS, then=THEN)
    def deploy(self, version: str, then: int) -> None:
        self.world.deploy(version)
        self.world.run(then)

    @rule(phase=PHASES, then=THEN)
    def deploy_another(self, phase: str, then: int) -> None:
        self.roll_out_until(phase)
        self.world.run(then)

    def roll_out_until(self, phase: str) -> None:
        versions = sorted({"1", "2", "3"} - {str(self.world.md.spec.model.version)})
        self.world.deploy(versions[self.world.second % 2])
        self.world.run(120, lambda world: world.phase == phase)

    @rule(version=VERSIONS, error_rate=st.sampled_from([0.0, 0.3]), latency=st.sampled_from([0.008, 0.3]), then=THEN)
    def behave(self, version: str, error_rate: float, latency: float, then: int) -> None:
        behaviour = self.world.behaviours.setdefault(version, Behaviour())
        behaviour.error_rate, behaviour.latency = error_rate, latency
        self.world.run(then)

    @rule(version=VERSIONS, mute=st.booleans(), nonfinite=st.booleans(), idle=st.sampled_from([0.004, 0.9]), then=THEN)
    def answer(self, version: str, mute: bool, nonfinite: bool, idle: float, then: int) -> None:
        behaviour = self.world.behaviours.setdefault(version, Behaviour())
        behaviour.mute, behaviour.nonfinite, behaviour.idle = mute, nonfinite, idle
        self.world.run(then)

    @rule(allowed=st.booleans(), then=THEN)
    def allow(self, allowed: bool, then: int) -> None:
        self.world.spec["rollout"]["allowSignatureChange"] = allowed
        self.world.run(then)

    @rule(version=VERSIONS, starts_in=st.sampled_from([0.0, 3.0, 40.0, 200.0]), then=THEN)
    def start_slowly(self, version: str, starts_in: float, then: int) -> None:
        self.world.behaviours.setdefault(version, Behaviour()).starts_in = starts_in
        self.world.run(then)

    @rule(then=THEN)
    def deploy_too_slow(self, then: int) -> None:
        versions = sorted({"1", "2", "3"} - {str(self.world.md.spec.model.version)})
        self.world.behaviours.setdefault(versions[0], Behaviour()).starts_in = 200.0
        self.world.deploy(versions[0])
        self.world.run(PATIENCE + then)

    @rule(
        verb=st.sampled_from(["approve", "pause", "abort", "promote", "retry"]),
        value=VALUES,
        gone=st.booleans(),
        then=THEN,
    )
    def ask(self, verb: str, value: str, gone: bool, then: int) -> None:
        self.world.annotations.pop(f"haldane.dev/{verb}", None)
        if not gone:
            self.world.annotations[f"haldane.dev/{verb}"] = value
        self.world.run(then)

    @rule(strategy=st.sampled_from(["Canary", "Canary", "BlueGreen", "Recreate"]), then=THEN)
    def choose(self, strategy: str, then: int) -> None:
        self.world.spec["rollout"]["strategy"] = strategy
        self.world.run(then)

    @rule(
        first=st.sampled_from([0, 5]),
        approval=st.booleans(),
        choice=st.sampled_from(["Hold", "Promote", "Rollback"]),
        then=THEN,
    )
    def edit(self, first: int, approval: bool, choice: str, then: int) -> None:
        self.world.spec["rollout"]["steps"][0] = {"weight": first, "hold": "10s", "approval": approval}
        self.world.spec["rollout"]["analysis"]["onInconclusive"] = choice
        self.world.run(then)

    @rule(replicas=st.integers(1, 5), then=THEN)
    def scale(self, replicas: int, then: int) -> None:
        self.world.spec["scaling"]["minReplicas"] = replicas
        self.world.run(then)

    @rule(rate=st.sampled_from([0, 3, 200, 700]), down=st.booleans(), late=st.integers(0, 8), then=THEN)
    def measure(self, rate: int, down: bool, late: int, then: int) -> None:
        self.world.rate, self.world.late = rate, late
        self.world.prometheus_down = "connection refused" if down else None
        self.world.run(then)

    @rule(lag=st.integers(0, 9), deaf=st.booleans(), heedless=st.booleans(), then=THEN)
    def lie(self, lag: int, deaf: bool, heedless: bool, then: int) -> None:
        self.world.lag, self.world.deaf, self.world.heedless = lag, deaf, heedless
        self.world.run(then)

    @rule(effects=st.integers(0, 3), away=st.sampled_from([2, 2, 9, 40, 300]), then=THEN)
    def die(self, effects: int, away: int, then: int) -> None:
        self.world.dies_after, self.world.away = effects, away
        self.world.run(then)

    @rule(kinds=st.sampled_from(REFUSED), refused_for=st.sampled_from([5, 40, 150]))
    def refuse(self, kinds: list[str], refused_for: int) -> None:
        self.world.refused = frozenset(kinds)
        self.world.run(refused_for)

    @rule(then=THEN)
    def pass_again(self, then: int) -> None:
        self.world.one_pass()
        self.world.run(then)

    @rule(seconds=st.integers(-600, 600), then=THEN)
    def jump(self, seconds: int, then: int) -> None:
        self.world.skew += timedelta(seconds=seconds)
        # What waits for proxies waits by that clock: the requests of the next seconds are not the engine's to answer for.
        self.world.excused_until = self.world.second + 15
        self.world.run(then)

    buried: str | None = None
    """The version whose pods are gone for good."""

    def teardown(self) -> None:
        """From wherever it is: an honest world leads to rest, and the next version is served."""
        world = getattr(self, "world", None)
        if world is None:
            return
        world.lag, world.deaf, world.heedless, world.late, world.dies_after = 0, False, False, 0, None
        world.prometheus_down, world.rate, world.refused = None, 200, frozenset()
        for behaviour in world.behaviours.values():
            behaviour.hangs = behaviour.crashed = False
            behaviour.never_ready = behaviour is world.behaviours.get(self.buried or "")
            behaviour.error_rate, behaviour.latency, behaviour.starts_in = 0.0, 0.008, 3.0
            behaviour.mute, behaviour.nonfinite, behaviour.idle = False, False, 0.004
        world.annotations.pop("haldane.dev/pause", None)
        world.spec["rollout"]["steps"][0] = {"weight": 5, "hold": "10s"}
        asked = world.md.spec.model.version

        def answered() -> bool:
            # A Recreate waits in this phase until stable's signature is known.
            rejected = [entry["version"] for entry in world.status.get("rejected", [])]
            return world.phase == "Stable" and (world.version("stable") == asked or asked in rejected)

        world.run(REST, lambda w: w.second >= 60 and answered())
        world.run(30)
        assert answered(), world.status["rollout"]["message"]
        world.behaviours["9"] = Behaviour(classes=world.behaviours[str(world.version("stable"))].classes)
        final = world.deploy("9")
        world.run(REST, lambda w: w.phase == "Stable" and w.serving == final)
        assert (world.phase, world.serving) == ("Stable", final), world.status["rollout"]["message"]
        world.run(15)
        assert list(world.pods) == [final], "nothing is left behind"
        before = world.status
        world.one_pass()
        assert world.status == before, "at rest nothing is written"


TOGETHER = [["stable"], ["candidate"], ["previous"], ["stable", "previous"], ["stable", "candidate"]]
HARMED_FOR = st.sampled_from([1, 5, 40, 150])
"""Seconds after harm: also until deadlines have passed that began before it."""


class HarshMachine(Machine):
    """Pods that serve are harmed, too: requests are lost then until somebody can have acted, and all else must still hold."""

    @precondition(lambda self: hasattr(self, "world"))
    @rule(role=ROLES, then=THEN)
    def lose_pods(self, role: str, then: int) -> None:
        state: dict[str, Any] | None = self.world.status.get(role)
        if state and state["revision"] in self.world.pods:
            pods = self.world.pods[state["revision"]]
            gone = [self.world.now + timedelta(seconds=5)] * len(pods)
            self.world.harm(lambda: pods.__setitem__(slice(None), gone))
        self.world.run(then)

    @precondition(lambda self: hasattr(self, "world"))
    @rule(
        phase=PHASES,
        roles=st.sampled_from(TOGETHER),
        how=st.sampled_from(["hangs", "crashed", "never_ready"]),
        beside=st.sampled_from(["nothing", "Prometheus", "pods"]),
        harmed_for=HARMED_FOR,
        heals=st.booleans(),
    )
    def break_down(self, phase: str, roles: list[str], how: str, beside: str, harmed_for: int, heals: bool) -> None:
        """Misfortunes come together: pods break while the rollout has to wait for something else, and some may heal."""
        if self.world.phase == "Stable":
            self.roll_out_until(phase)
        self.world.run(120, lambda world: world.phase == phase)
        versions = [str(self.world.version(role) or self.world.md.spec.model.version) for role in roles]
        if beside == "Prometheus":
            self.world.prometheus_down = "connection refused"
        elif beside == "pods":
            self.world.behaviours[str(self.world.md.spec.model.version)].starts_in = 200.0
        for version in versions:
            self.world.harm(partial(setattr, self.world.behaviours[version], how, True))
        self.world.run(harmed_for)
        setattr(self.world.behaviours[versions[0]], how, not heals)

    @precondition(lambda self: hasattr(self, "world") and self.buried is None)
    @rule(phase=PHASES, then=THEN)
    def bury_stable(self, phase: str, then: int) -> None:
        """What served before the rollout never has a pod again: nothing may wait for that without end."""
        if self.world.phase == "Stable":
            self.roll_out_until(phase)
        version = self.world.version("stable")
        if version and self.world.status.get("candidate"):
            self.buried = version
            self.world.harm(partial(setattr, self.world.behaviours[version], "never_ready", True))
        self.world.run(then)


EXAMPLES = os.environ.get("HALDANE_ROLLOUT_EXAMPLES")
pytestmark = pytest.mark.timeout(0 if EXAMPLES else 300)
"""Many examples take as long as they take."""
LAWS = settings(
    max_examples=int(EXAMPLES or "4"),
    # A few examples are the same each time, and many are new ones: who changes a decision asks for many. What few seldom reach
    # is driven on purpose in `test_courses`.
    derandomize=not EXAMPLES,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWithPodsThatLive = Machine.TestCase
TestWithPodsThatLive.settings = LAWS
TestWithPodsThatDie = HarshMachine.TestCase
TestWithPodsThatDie.settings = LAWS
