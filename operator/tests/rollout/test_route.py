"""An API server that does not take what the operator writes: no wait for it is silent, and none costs requests."""

from __future__ import annotations

import copy

import pytest

from haldane.api.status import Condition
from haldane.plan.conditions import RECONCILING, STALLED
from haldane.plan.status import compose
from haldane.plan.stuck import stuck_events

from .lying import LyingWorld
from .world import SPEC

REFUSED = 'apply Ingress payments/fraud-candidate: admission webhook "routes.example.com" denied the request: frozen'
DEADLINE = 120


@pytest.fixture
def world() -> LyingWorld:
    made = LyingWorld(copy.deepcopy(SPEC), proxy_lag=2)
    made.deploy("1")
    made.run_until("Stable")
    return made


def conditions(world: LyingWorld) -> dict[str, Condition]:
    status = world.md.status
    told = compose(world.md, status, world.observe(), world.now, refusal=REFUSED).conditions
    return {each.type: each for each in told if each.status == "True"}


def share(world: LyingWorld, version: str) -> float:
    """The part of the last second's requests that this version answered."""
    answered = {world.versions[name]: requests for name, (requests, _, _) in world.counts[-1].items()}
    return answered.get(version, 0.0) / sum(answered.values())


@pytest.fixture
def promoting(world: LyingWorld) -> LyingWorld:
    """A version that has passed every step, and a route that nobody may write any more."""
    world.deploy("2")
    world.run_until("Promoting")
    world.refused = frozenset({"Ingress"})
    world.run(5)
    return world


def test_a_promotion_that_may_not_write_the_route_says_who_refuses_it_and_goes_on(promoting: LyingWorld) -> None:
    writes = 0
    for _ in range(DEADLINE + 30):
        before = promoting.status["rollout"] | {"checks": None, "checkedAt": None}
        promoting.run(1)
        writes += before != promoting.status["rollout"] | {"checks": None, "checkedAt": None}
    assert writes <= 2, "waiting writes nothing"
    assert (promoting.phase, share(promoting, "2")) == ("Promoting", 0.5)
    stalled = conditions(promoting)[STALLED]
    assert stalled.reason == "ProgressDeadlineExceeded"
    assert REFUSED in stalled.message, stalled.message
    assert "for 2m the cluster has not taken" in stalled.message.casefold()
    assert RECONCILING not in conditions(promoting)
    promoting.refused = frozenset()
    promoting.run_until("Watching", 30)
    assert promoting.version("stable") == "2"


def test_it_is_told_once_by_an_event(promoting: LyingWorld) -> None:
    promoting.run(DEADLINE + 10)
    before = promoting.md.status
    after = compose(promoting.md, before, promoting.observe(), promoting.now, failure="connection refused")
    (event,) = stuck_events(before, after)
    assert (event.type, event.reason) == ("Warning", "ProgressDeadlineExceeded")
    assert "onnection refused" in event.message
    assert stuck_events(after, after) == ()


def test_before_its_deadline_it_is_only_refused(promoting: LyingWorld) -> None:
    promoting.run(DEADLINE - 20)
    stalled = conditions(promoting)[STALLED]
    assert stalled.reason == "Refused"
    assert "waiting until the route carries it" in stalled.message


def test_the_checks_judge_meanwhile_and_the_service_takes_the_share_away(promoting: LyingWorld) -> None:
    promoting.run(30)
    promoting.behaviours["2"].error_rate = 0.1
    promoting.run(60)
    assert promoting.status["rejected"][0]["reason"] == "CheckFailed"
    assert (promoting.route_weight, share(promoting, "1")) == (50, 1.0)
    promoting.run_until("Stable", 30)
    assert (promoting.version("stable"), promoting.version("candidate")) == ("1", None)


def test_an_abort_takes_the_share_away(promoting: LyingWorld) -> None:
    promoting.annotations["haldane.dev/abort"] = "now"
    promoting.run(10)
    assert (promoting.route_weight, share(promoting, "1")) == (50, 1.0)


def test_no_rollout_begins_beside_a_share_that_is_left_in_the_route(promoting: LyingWorld) -> None:
    promoting.annotations["haldane.dev/abort"] = "now"
    promoting.run_until("Stable", 60)
    promoting.deploy("3")
    promoting.run(DEADLINE + 10)
    assert (promoting.phase, promoting.version("candidate")) == ("Stable", None)
    assert "the route still carries weight 50%" in promoting.status["rollout"]["message"]
    assert conditions(promoting)[STALLED].reason == "ProgressDeadlineExceeded"
    assert share(promoting, "1") == 1.0
    promoting.refused = frozenset()
    promoting.run_until("Watching", 200)
    assert promoting.version("stable") == "3"


def test_a_spec_that_is_set_back_waits_for_nothing(promoting: LyingWorld) -> None:
    promoting.annotations["haldane.dev/abort"] = "now"
    promoting.run_until("Stable", 60)
    promoting.deploy("3")
    promoting.run(DEADLINE)
    promoting.deploy("1")
    promoting.run(20)
    promoting.deploy("3")
    promoting.run(20)
    assert conditions(promoting)[STALLED].reason == "Refused", "the next wait has its own time"


def test_nor_while_a_promoted_version_is_watched(world: LyingWorld) -> None:
    world.spec["rollout"] |= {"keepStableFor": "1h"}
    world.deploy("2")
    world.run(200, lambda w: w.version("previous") == "1")
    world.refused = frozenset({"Ingress"})
    world.run_until("Watching", 30)
    assert world.route_weight == 100
    world.deploy("3")
    world.run(DEADLINE + 20)
    assert (world.phase, share(world, "2")) == ("Watching", 1.0)
    assert conditions(world)[STALLED].reason == "ProgressDeadlineExceeded"
    world.refused = frozenset()
    world.run_until("Preparing", 30)


def test_a_watch_ends_in_its_time_while_the_next_version_waits_for_the_route(world: LyingWorld) -> None:
    world.deploy("2")
    world.run(200, lambda w: w.version("previous") == "1")
    world.refused = frozenset({"Ingress"})
    world.run_until("Watching", 30)
    world.deploy("3")
    began = world.second
    world.run_until("Stable", 45)
    assert (world.version("previous"), world.version("candidate"), share(world, "2")) == (None, None, 1.0)
    world.run(DEADLINE + 10 - (world.second - began))
    assert conditions(world)[STALLED].reason == "ProgressDeadlineExceeded", "one wait, whatever phase it is in"
    world.refused = frozenset()
    world.run_until("Watching", 200)
    assert (world.version("stable"), world.version("previous")) == ("3", "2")


def test_what_is_watched_and_hangs_goes_back_while_the_next_version_waits_for_the_route(world: LyingWorld) -> None:
    world.spec["rollout"] |= {"keepStableFor": "1s", "watchAfterPromotion": "10m"}
    world.deploy("2")
    world.run_until("Watching")
    world.run(10)
    # Somebody else has written a share into it, after the old pods went.
    world.refused, world.route_weight = frozenset({"Ingress"}), 50
    world.deploy("3")
    world.run(10)
    world.harm(lambda: setattr(world.behaviours["2"], "hangs", True))
    world.run(DEADLINE + 20)
    assert world.status["rejected"][0]["reason"] == "NoReadyPods"
    assert share(world, "1") == 1.0


def test_a_promoted_version_that_fails_goes_back_without_the_route(world: LyingWorld) -> None:
    world.deploy("2")
    world.run(200, lambda w: w.version("previous") == "1")
    world.refused = frozenset({"Ingress"})
    world.run_until("Watching", 30)
    world.behaviours["2"].error_rate = 0.5
    world.run(40)
    assert (world.route_weight, share(world, "1")) == (100, 1.0)
    world.run_until("Stable", 30)


@pytest.mark.parametrize("weight", [50, 100])
@pytest.mark.parametrize("paused", [False, True])
def test_lost_pods_lose_their_share_without_the_route(world: LyingWorld, weight: int, paused: bool) -> None:
    world.deploy("2")
    world.run(100, lambda w: w.route_weight == 5)
    if weight == 100:
        world.annotations["haldane.dev/promote"] = "now"
    world.run(100, lambda w: w.route_weight == weight)
    if paused:
        world.annotations["haldane.dev/pause"] = "INC"
    world.refused = frozenset({"Ingress"})
    world.harm(lambda: setattr(world.behaviours["2"], "hangs", True))
    world.excused_until = world.second + 25  # until nobody waits for the route any more
    world.run(30)
    assert world.status["rejected"][0]["reason"] == "CandidateLost"
    assert (world.route_weight, share(world, "1")) == (weight, 1.0)


def test_lost_pods_of_a_promotion_that_come_back_before_are_promoted(world: LyingWorld) -> None:
    world.deploy("2")
    world.run(100, lambda w: w.route_weight == 5)
    world.annotations["haldane.dev/promote"] = "now"
    world.run(100, lambda w: w.route_weight == 100)
    world.refused = frozenset({"Ingress"})
    world.harm(lambda: setattr(world.behaviours["2"], "hangs", True))
    world.run(8)
    world.behaviours["2"].hangs = False
    world.refused = frozenset()
    world.run_until("Watching", 60)
    assert world.version("stable") == "2"


@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen", "Recreate"])
def test_pods_that_may_not_be_made_are_given_up_at_the_deadline(world: LyingWorld, strategy: str) -> None:
    world.spec["rollout"]["strategy"] = strategy
    world.deploy("2")
    # The operator is away when it has written its decision, and may write no Deployment when it is back.
    world.run(60, lambda w: w.phase == "Preparing" and (strategy != "Recreate" or not w.ready(w.serving)))
    revision = world.status["candidate"]["revision"]
    world.pods.pop(revision, None)
    world.refused = frozenset({"Deployment"})
    world.run(DEADLINE + 20)
    world.refused = frozenset()
    world.run_until("Stable", 60)
    assert world.version("stable") == "1"
    assert world.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"
    assert "the API server did not take all" in world.status["rejected"][0]["message"]


def test_pods_that_may_not_be_added_are_given_up_at_the_second_deadline(world: LyingWorld) -> None:
    world.spec["scaling"]["minReplicas"] = 4
    world.run(20)
    world.deploy("2")
    world.run_until("Progressing")
    world.refused = frozenset({"Deployment"})
    world.run(60, lambda w: w.status["rollout"]["step"] == 1)
    world.run(2 * (DEADLINE + 20) + 30)  # a step has its hold as well
    assert world.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"
    assert share(world, "1") == 1.0


def test_a_service_that_may_not_be_moved_is_given_up_at_the_deadline(world: LyingWorld) -> None:
    world.deploy("2")
    world.run_until("Promoting")
    world.refused = frozenset({"Service"})
    world.run(DEADLINE + 30)
    assert world.status["rejected"][0]["reason"] == "ProgressDeadlineExceeded"
    assert share(world, "1") == 1.0


@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen", "Recreate"])
@pytest.mark.parametrize("paused", [False, True])
def test_promoted_pods_that_hang_have_the_deadline_to_come_back(world: LyingWorld, strategy: str, paused: bool) -> None:
    world.spec["rollout"] |= {"strategy": strategy, "keepStableFor": "1s", "watchAfterPromotion": "10m"}
    world.deploy("2")
    world.run_until("Watching")
    world.run(20)
    if paused:
        world.annotations["haldane.dev/pause"] = "INC"
    for lost in (DEADLINE - 10, DEADLINE - 10, DEADLINE + 20):
        assert world.phase == "Watching", "pods that came back in time begin anew"
        world.harm(lambda: setattr(world.behaviours["2"], "hangs", True))
        world.run(lost)
        world.behaviours["2"].hangs = False
        world.run(3)
    assert world.status["rejected"][0]["reason"] == "NoReadyPods"
    world.run_until("Stable", 60)
    assert (world.version("stable"), share(world, "1")) == ("1", 1.0)
