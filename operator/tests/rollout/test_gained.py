"""What a candidate's counters tell of a step that is young: with the first scrape, and with what came before it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from haldane.plan.analysis import judge
from haldane.plan.asking import SCRAPED, SCRAPED_BEFORE, queries
from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.samples import Requests, gained

from .world import Behaviour

DOWN = Unavailable("no answer within 5s")


def answer(**revisions: tuple[int, int]) -> tuple[Series, ...]:
    """Good answers and errors by revision, as Prometheus sums them up."""
    return tuple(
        Series({"revision": revision, "code": code}, float(value))
        for revision, counts in revisions.items()
        for code, value in zip(("200", "503"), counts, strict=True)
    )


STABLE = (9000, 90)


@pytest.mark.parametrize(
    ("scraped", "before", "found"),
    [
        (answer(new=(33, 9), old=STABLE), answer(old=STABLE), Requests(42, 9)),  # a pod that was not known before
        (answer(new=(63, 9), old=STABLE), answer(new=(33, 4), old=STABLE), Requests(35, 5)),
        (answer(new=(33, 9)), answer(old=STABLE), Requests(42, 9)),
        (answer(old=STABLE), answer(old=STABLE), None),  # it is not known yet
        (answer(new=(33, 9), old=STABLE), (), None),  # Prometheus was not there: the counters are of any age
        (answer(new=(33, 9), old=STABLE), answer(new=(10, 1)), None),
        (answer(new=(33, 1), old=STABLE), answer(new=(10, 4), old=STABLE), None),  # a pod began anew
        (answer(new=(5, 9), old=STABLE), answer(new=(10, 4), old=STABLE), None),
        (DOWN, answer(old=STABLE), None),
        (answer(new=(33, 9)), DOWN, None),
        (None, None, None),
        ((Series({"revision": "new"}, float("nan")),), answer(old=STABLE), None),
    ],
)
def test_what_came_between_two_scrapes(scraped: Answer | None, before: Answer | None, found: Requests | None) -> None:
    assert gained(scraped, before, "new", "old") == found


def asked(world: Any) -> dict[str, str]:
    return queries(world.md, world.now)


def test_it_is_asked_in_the_first_window_of_the_first_share_beside_stable(world: Any) -> None:
    world.deploy("2")
    seen: list[bool] = []

    def look(world: Any) -> bool:
        if found := asked(world):
            seen.append(SCRAPED in found)
            assert not (seen[-1] and world.status["rollout"]["step"]), "a missed scrape would count what came before"
            assert (SCRAPED_BEFORE in found) is seen[-1]
            if seen[-1]:
                since = round((world.now - world.md.status.rollout.weight_changed_at).total_seconds())
                assert f" offset {max(1, since)}s)" in found[SCRAPED_BEFORE]
                assert f"[{max(1, since)}s]" in found["recent"]
        return bool(world.status["rollout"]["phase"] == "Watching")

    world.run(200, look)
    assert True in seen
    assert seen[-1] is False, "afterwards increase() tells as much"


def late(world: Any, seconds: int) -> Callable[..., Answer]:
    """Prometheus that meets the candidate so long after its first requests, and scrapes it every 15 s then."""
    own = world.answer

    def answered(promql: str, *ago: timedelta) -> Answer:
        found: Answer = own(promql, *ago)
        changed = world.md.status.rollout.weight_changed_at
        at = world.now - sum(ago, timedelta())
        if isinstance(found, Unavailable) or changed is None:
            return found
        candidate = world.md.status.candidate.revision if world.md.status.candidate else ""
        known = at - changed >= timedelta(seconds=seconds)
        is_told = known and ("increase" not in promql or at - changed >= timedelta(seconds=seconds + 15))
        return tuple(series for series in found if series.labels["revision"] != candidate or is_told)

    return answered


@pytest.mark.parametrize("check", [{"abort": "20%"}, {"max": "1%"}], ids=["abort", "max"])
def test_a_broken_version_goes_with_the_first_scrape_that_knows_it(world: Any, check: dict[str, str]) -> None:
    world.spec["rollout"] |= {"checks": [{"name": "errors", "errorRate": check}]}
    world.spec["rollout"]["analysis"] |= {"warmup": "0s"}
    world.behaviours["2"] = Behaviour(error_rate=0.5)
    by_increase = deepcopy(world)
    world.answer = late(world, 7)
    tardy = late(by_increase, 7)
    by_increase.answer = lambda promql, *ago: tardy(promql, *ago) if "increase" in promql else ()
    took = []
    for each in (world, by_increase):
        each.deploy("2")
        each.run_until("Progressing")
        begun = each.now
        each.run_until("RollingBack", 100)
        took.append((each.now - begun).total_seconds())
    assert took[0] + 10 <= took[1], took


def test_the_requests_of_the_gates_alone_are_no_traffic(world: Any) -> None:
    """Else a version that nobody asked anything would pass."""
    world.rate = 0
    own = world.answer

    def answered(promql: str, *ago: timedelta) -> Answer:
        status = world.md.status
        if "increase" in promql or status.candidate is None:
            return tuple(own(promql, *ago))
        known = {status.stable.revision: (0, 0)}
        return answer(**(known if "offset" in promql else {**known, status.candidate.revision: (12, 0)}))

    world.answer = answered
    world.spec["rollout"]["analysis"] |= {"minRequests": 1, "warmup": "0s"}
    world.deploy("2")
    world.run_until("Progressing")
    world.run(30)
    assert all(check["verdict"] == "Inconclusive" for check in world.status["rollout"]["checks"])


def test_the_requests_of_the_gates_do_not_hide_a_version_that_is_broken(world: Any) -> None:
    """The first five requests of a step that all fail are enough."""
    world.rate = 8
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"abort": "20%"}}]
    world.behaviours["2"] = Behaviour(error_rate=1.0)
    own = world.answer

    def answered(promql: str, *ago: timedelta) -> Answer:
        found: Answer = own(promql, *ago)
        if (
            "increase" in promql
            or "offset" in promql
            or world.md.status.candidate is None
            or isinstance(found, Unavailable)
        ):
            return found
        return (*found, *answer(**{world.md.status.candidate.revision: (12, 0)}))

    world.answer = answered
    world.deploy("2")
    world.run_until("Progressing")
    begun = world.now
    world.run_until("RollingBack", 60)
    failed = 5 / (world.rate * world.spec["rollout"]["steps"][0]["weight"] / 100)
    assert world.now - begun <= timedelta(seconds=failed + 6)


def is_asked(world: Any, **changes: Any) -> bool:
    """Whether the counters are asked for once this was changed of the rollout's status."""
    world.deploy("2")
    world.run_until("Progressing")
    world.status["rollout"] |= changes
    return SCRAPED in queries(world.md, world.now + timedelta(seconds=10))


GATE = {"name": "answers", "verdict": "Skipped", "message": "m"}


@pytest.mark.parametrize(
    ("errors", "again", "expected"), [(None, 0, True), (6, 0, False), (None, 1, False)], ids=["good", "errors", "again"]
)
def test_a_gate_that_was_answered_with_errors_is_no_traffic(
    world: Any, errors: int | None, again: int, expected: bool
) -> None:
    since, at = (moment.isoformat() for moment in (world.now, world.now + timedelta(seconds=again)))
    assert is_asked(world, gates=[{**GATE, "errors": errors, "since": since, "at": at}]) is expected


def test_a_candidate_that_has_lost_its_pods_once_has_a_past(world: Any) -> None:
    assert not is_asked(world, lostAt=world.now.isoformat())


@pytest.mark.parametrize(("header", "expected"), [(None, True), ("x-preview", False)])
def test_a_step_without_a_share_is_no_past_unless_a_header_leads_there(
    world: Any, header: str | None, expected: bool
) -> None:
    world.spec["rollout"]["steps"] = [{"weight": 0, "hold": "1s"}, {"weight": 10, "hold": "60s"}]
    world.spec["traffic"] = {"host": "models.example", "ingress": {"previewHeader": header}}
    assert is_asked(world, step=1, weight=10) is expected


def test_stable_is_counted_between_the_same_scrapes(world: Any) -> None:
    """An incident of both just before stable's first sample of the step is not the candidate's alone."""
    world.spec["rollout"]["checks"] = [{"name": "errors", "errorRate": {"maxIncrease": "1%"}}]
    world.spec["rollout"]["analysis"] |= {"minRequests": 100, "warmup": "0s"}
    world.deploy("2")
    world.run_until("Progressing")
    new, old = (world.status[role]["revision"] for role in ("candidate", "stable"))
    now = world.now + timedelta(seconds=10)
    both = {"scraped": answer(**{new: (900, 45), old: (18000, 900)}), "scraped/before": answer(**{old: (0, 0)})}
    by_increase = answer(**{new: (600, 0), old: (12000, 0)})
    analysis = judge(world.md, {"recent": by_increase, "requests": by_increase, **both}, now)
    assert analysis is not None
    assert analysis.checks[0].verdict != "Fail", analysis.checks[0].message
    assert analysis.checks[0].baseline == "4.76%"
