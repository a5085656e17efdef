"""NaN where stable gives numbers ends a rollout without a check for it; NaN that both give, in runs of whatever size, does not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from haldane.plan.nonfinite import alarm
from haldane.plan.observed import Series, Unavailable


def found(own: tuple[float, float, int], stable: tuple[float, float, int] | None) -> tuple[str, str] | None:
    """The alarm after so many runs with NaN, runs, and requests of both."""
    counts = {"new": own, **({"old": stable} if stable else {})}
    answers = {
        name: tuple(Series({"revision": revision}, one[index]) for revision, one in counts.items())
        for index, name in enumerate(("nonfinite", "runs"))
    }
    return alarm("new", "old", answers, {revision: one[2] for revision, one in counts.items()})


SHOWN = [
    ("all of it", (40, 40, 40), (0, 800, 800), True),
    ("a tenth", (50, 500, 500), (0, 9000, 9500), True),
    ("a hundredth, after a while", (100, 10_000, 10_000), (0, 100_000, 190_000), True),
    ("a few may be chance", (3, 500, 500), (0, 9000, 9500), False),
    ("none", (0, 500, 500), (0, 9000, 9500), False),
    ("as many", (50, 500, 500), (950, 9500, 9500), False),
    ("half as many again", (75, 500, 500), (950, 9500, 9500), False),
    ("five times as many", (250, 500, 500), (950, 9500, 9500), True),
    ("nothing to compare with", (20, 20, 20), None, False),
    ("stable answered nothing", (20, 20, 20), (0, 0, 0), False),
    ("counts that do not fit together", (30, 20, 20), (0, 400, 400), False),
    # One request in five: runs of one show one in five, runs of 64 show it in each run, but in one of 64 requests.
    ("rare runs of stable's are large", (200, 1000, 1000), (300, 300, 19_200), False),
    ("rare runs of the candidate's are large", (300, 300, 19_200), (200, 1000, 1000), False),
]


@pytest.mark.parametrize(("own", "stable", "shown"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_what_is_shown(own: tuple[int, int, int], stable: tuple[int, int, int] | None, shown: bool) -> None:
    assert (found(own, stable) is not None) == shown


def test_it_says_how_often() -> None:
    assert found((50, 500, 500), (19, 9500, 9500)) == (
        "0.1 of its runs gave NaN or Infinity, 0.002 of stable's",
        "0.1",
    )


@pytest.mark.parametrize("answer", [None, (), Unavailable("down"), (Series({"revision": "new"}, float("nan")),)])
def test_what_is_not_known_is_no_alarm(answer: Any) -> None:
    known = tuple(Series({"revision": revision}, 100.0) for revision in ("new", "old"))
    answers = {"nonfinite": answer, "runs": known} if answer is not None else {}
    assert alarm("new", "old", answers, {"new": 100, "old": 100}) is None
    assert alarm("new", None, {"nonfinite": known, "runs": known}, {"new": 100}) is None


def test_the_same_version_again_raises_no_alarm_however_often_it_is_looked_at() -> None:
    draw, alarms = random.Random(7), 0
    for rate in (0.001, 0.02, 0.2):
        for _ in range(20):
            hits, whole = {"new": 0, "old": 0}, {"new": 0, "old": 0}
            for _ in range(20):
                for revision, requests in (("new", 30), ("old", 570)):
                    # In groups of four.
                    hits[revision] += 4 * sum(draw.random() < rate / 4 for _ in range(requests))
                    whole[revision] += requests
                counts = [(min(hits[r], whole[r]), whole[r], whole[r]) for r in ("new", "old")]
                if found(counts[0], counts[1]):
                    alarms += 1
                    break
    assert alarms == 0


def test_a_version_that_begins_to_give_nan_goes_back_without_a_check_for_it(world: Any) -> None:
    world.spec["rollout"]["checks"] = []
    world.deploy("2")
    world.run_until("Progressing")
    world.behaviours["2"].nonfinite_rate = 0.2
    world.run_until("RollingBack", 120)
    rejected = world.status["rejected"][0]
    assert rejected["reason"] == "CheckFailed"
    assert rejected["message"].startswith("check nonfinite failed: 0.")
    assert "of its runs gave NaN or Infinity, 0 of stable's" in rejected["message"]
    assert max(world.weights) <= 50


def test_a_version_that_gives_nan_as_stable_does_is_promoted(world: Any) -> None:
    world.behaviours["1"].nonfinite_rate = 0.2
    world.deploy("2")
    world.behaviours["2"].nonfinite_rate = 0.2
    world.run_until("Watching")
