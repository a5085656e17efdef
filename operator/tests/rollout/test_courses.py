"""The machine of `test_machine`, driven on purpose where chance seldom gets: deadlines, rejections, refusals. Its laws judge."""

from __future__ import annotations

from typing import Any

import pytest

from .test_machine import HarshMachine

DEADLINE = 120
OVERDUE = DEADLINE + 60
"""Seconds after which the laws call a phase too long that has the deadline alone."""
AWHILE = 90


def machine(
    strategy: str = "Canary", replicas: int = 2, routed: bool = True, highest: int | None = None, **rollout: Any
) -> HarshMachine:
    """Version 1 serves, and version 2 has just been asked for."""
    made = HarshMachine()
    made.serve(replicas=replicas, proxy_lag=2, strategy=strategy, routed=routed, highest=highest, then=0)
    made.world.spec["rollout"] |= rollout
    return made


def reach(driven: HarshMachine, phase: str, seconds: int = 240) -> None:
    """Advance until a phase is there; fails when it does not come."""
    driven.world.run(seconds, lambda world: world.phase == phase)
    assert driven.world.phase == phase, driven.world.status["rollout"]["message"]


def history(driven: HarshMachine) -> list[tuple[str, str]]:
    return [(entry["version"], entry["outcome"]) for entry in driven.world.status["history"]]


def harm(driven: HarshMachine, version: str, how: str, harmed: bool = True) -> None:
    driven.world.harm(lambda: setattr(driven.world.behaviours[version], how, harmed))


@pytest.mark.parametrize(("choice", "outcome"), [("Rollback", "RolledBack"), ("Promote", "Promoted")])
def test_a_step_that_stays_undecided(choice: str, outcome: str) -> None:
    driven = machine()
    driven.edit(first=5, approval=False, choice=choice, then=0)
    driven.measure(rate=3, down=False, late=0, then=0)
    driven.world.run(2 * OVERDUE + 60)
    assert ("2", outcome) in history(driven)


def test_a_step_under_an_outage_of_the_monitoring() -> None:
    driven = machine()
    driven.edit(first=5, approval=False, choice="Rollback", then=0)
    reach(driven, "Progressing")
    driven.measure(rate=200, down=True, late=0, then=OVERDUE + 20)
    assert ("2", "RolledBack") in history(driven)


@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen", "Recreate"])
def test_pods_that_never_come(strategy: str) -> None:
    driven = machine(strategy)
    driven.start_slowly("2", starts_in=600.0, then=OVERDUE)
    assert ("2", "RolledBack") in history(driven)


def test_pods_for_the_whole_that_never_come() -> None:
    driven = machine(replicas=4)
    driven.world.run(AWHILE, lambda world: world.route_weight == 50)
    driven.start_slowly("2", starts_in=600.0, then=OVERDUE)
    assert ("2", "RolledBack") in history(driven)


def test_pods_that_come_and_go() -> None:
    driven = machine()
    for _ in range(40):
        driven.world.run(AWHILE, lambda world: world.phase in ("Progressing", "RollingBack"))
        if driven.world.phase == "RollingBack":
            break
        harm(driven, "2", "hangs")
        driven.world.run(4)
        harm(driven, "2", "hangs", harmed=False)
    assert ("2", "RolledBack") in history(driven)


@pytest.mark.parametrize(
    ("kind", "outcome"), [("Ingress", None), ("Service", "RolledBack"), ("Deployment", "RolledBack")]
)
def test_a_promotion_that_may_not_be_written(kind: str, outcome: str | None) -> None:
    driven = machine(replicas=4)
    driven.world.run(AWHILE, lambda world: world.route_weight == 50)
    driven.world.refused = frozenset({kind})
    driven.world.run(OVERDUE if outcome is None else 2 * OVERDUE, lambda _: ("2", "RolledBack") in history(driven))
    assert (history(driven)[-1] == ("2", outcome)) is (outcome is not None)
    if outcome is None:
        driven.teardown()


def test_a_way_back_that_may_not_be_written() -> None:
    driven = machine()
    driven.world.run(AWHILE, lambda world: world.route_weight == 50)
    driven.world.refused = frozenset({"Ingress"})
    driven.behave("2", error_rate=0.3, latency=0.008, then=OVERDUE)
    assert driven.world.phase == "Stable"
    driven.deploy("4", then=OVERDUE)
    assert driven.world.version("candidate") is None


def test_pods_that_are_lost_while_the_route_may_not_be_written() -> None:
    driven = machine()
    driven.world.run(AWHILE, lambda world: world.route_weight == 50)
    driven.world.refused = frozenset({"Ingress"})
    harm(driven, "2", "hangs")
    driven.world.run(AWHILE)
    assert ("2", "RolledBack") in history(driven)


@pytest.mark.parametrize("strategy", ["Canary", "Recreate"])
def test_candidates_that_may_not_be_made(strategy: str) -> None:
    driven = machine(strategy)
    driven.world.run(AWHILE, lambda world: (world.status.get("candidate") or {}).get("replicas", 0) > 0)
    del driven.world.pods[driven.world.status["candidate"]["revision"]]
    driven.world.refused = frozenset({"Deployment"})
    driven.world.run(OVERDUE + 20)
    assert ("2", "RolledBack") in history(driven)


@pytest.mark.parametrize(("strategy", "how"), [("Canary", "hangs"), ("BlueGreen", "crashed"), ("Recreate", "hangs")])
def test_a_promoted_version_that_breaks(strategy: str, how: str) -> None:
    driven = machine(strategy, watchAfterPromotion="10m")
    reach(driven, "Watching")
    driven.world.run(6)
    harm(driven, "2", how)
    driven.world.run(OVERDUE + 60)
    assert ("2", "RolledBack") in history(driven)


def test_a_promoted_version_that_fails_when_the_old_one_cannot_come_back() -> None:
    driven = machine(keepStableFor="1s", watchAfterPromotion="10m")
    reach(driven, "Watching")
    driven.world.run(10)
    driven.world.behaviours["1"].starts_in = 600.0
    driven.behave("2", error_rate=0.3, latency=0.008, then=OVERDUE + 60)
    assert "UndoFailed" in [event.reason for event in driven.world.events]
    assert (driven.world.phase, driven.world.version("stable")) == ("Stable", "2")


def test_a_promoted_version_that_fails_goes_back_to_pods_that_were_kept() -> None:
    driven = machine(keepStableFor="5m", watchAfterPromotion="1s")
    reach(driven, "Watching")
    driven.world.run(AWHILE)
    driven.behave("2", error_rate=0.3, latency=0.008, then=AWHILE)
    assert (driven.world.phase, driven.world.version("stable")) == ("Stable", "1")


@pytest.mark.parametrize("verb", ["abort", "none"])
def test_a_rejection_outlives_operators_and_other_versions_and_ends_with_a_retry(verb: str) -> None:
    driven = machine()
    reach(driven, "Progressing")
    if verb == "abort":
        driven.ask(verb="abort", value="a", gone=False, then=2)
    else:
        driven.behave("2", error_rate=0.3, latency=0.008, then=AWHILE)
    driven.die(effects=0, away=9, then=40)
    driven.behave("2", error_rate=0.0, latency=0.008, then=AWHILE)
    driven.deploy("4", then=0)
    reach(driven, "Watching")
    driven.deploy("2", then=AWHILE)
    assert (driven.world.phase, driven.world.version("stable")) == ("Stable", "4")
    driven.ask(verb="retry", value="b", gone=False, then=0)
    reach(driven, "Watching")
    assert driven.world.version("stable") == "2"


def test_a_pause_before_a_step_and_before_the_promotion() -> None:
    driven = machine()
    for weight in (0, 50):
        driven.world.run(AWHILE, lambda world, weight=weight: world.route_weight == weight and world.phase != "Stable")
        driven.ask(verb="pause", value="a", gone=False, then=AWHILE)
        assert driven.world.status["rollout"]["weight"] == weight
        driven.ask(verb="pause", value="a", gone=True, then=0)
    reach(driven, "Watching")


def test_a_step_that_a_person_ends() -> None:
    driven = machine()
    driven.edit(first=5, approval=True, choice="Hold", then=2 * AWHILE)
    assert driven.world.status["rollout"]["step"] == 0
    driven.ask(verb="approve", value="a", gone=False, then=0)
    reach(driven, "Watching")


def test_a_step_without_a_share_is_held() -> None:
    driven = machine()
    driven.edit(first=0, approval=False, choice="Hold", then=0)
    reach(driven, "Watching")
    assert driven.world.status["history"][-1]["outcome"] == "Promoted"


def test_a_watch_that_ends_while_the_next_version_may_not_write_the_route() -> None:
    driven = machine()
    driven.world.run(2 * AWHILE, lambda world: world.version("previous") == "1")
    driven.refuse(["Ingress"], 10)
    driven.deploy("3", then=AWHILE)
    assert (driven.world.phase, driven.world.version("previous")) == ("Stable", None)
    driven.refuse(["Ingress"], OVERDUE)
    driven.teardown()


def test_a_size_that_is_asked_for_again_after_an_autoscaler_took_it_away() -> None:
    driven = machine(routed=False, replicas=5, highest=4)
    driven.scale(2, then=1)
    driven.scale(5, then=AWHILE)


def test_a_retry_of_what_a_deadline_has_ended_is_no_other_deadline() -> None:
    driven = machine()
    driven.start_slowly("2", starts_in=600.0, then=OVERDUE)
    driven.ask(verb="retry", value="a", gone=False, then=2)
    assert (driven.world.phase, driven.world.version("candidate")) == ("Preparing", "2")
