"""What an episode must end with, told from its deeds alone; and what a seed draws."""

from __future__ import annotations

from itertools import islice

import pytest

from e2e.soak.drawing import KILLED_SHARE, episodes, faults
from e2e.soak.episodes import Ask, Choose, Deed, Delete, Ending, Episode, Say, Scale, Version, ending

STABLE = Version("v1", "good", "v1")
GOOD = Version("good-1", "good", "v2")
BETTER = Version("good-2", "good", "v1")
BROKEN = Version("broken-1", "broken", "v4-broken")


def episode(*actions: Ask | Say | Scale | Delete | Choose) -> Episode:
    return Episode("test", tuple(Deed(at, action) for at, action in enumerate(actions)))


def names(*versions: Version) -> frozenset[str]:
    return frozenset(version.name for version in versions)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([Scale(2)], Ending(names(STABLE), names(), names())),
        ([Ask(GOOD)], Ending(names(GOOD), names(), names())),
        ([Ask(BROKEN)], Ending(names(STABLE), names(BROKEN), names(BROKEN))),
        ([Ask(GOOD), Ask(BETTER)], Ending(names(BETTER), names(), names())),
        # The good one may have been promoted before the broken one came.
        ([Ask(GOOD), Ask(BROKEN)], Ending(names(STABLE, GOOD), names(BROKEN), names(BROKEN))),
        ([Ask(BROKEN), Ask(GOOD)], Ending(names(GOOD), names(), names(BROKEN))),
        ([Ask(GOOD), Ask(None)], Ending(names(STABLE), names(), names())),
        ([Ask(GOOD), Say("abort")], Ending(names(STABLE, GOOD), names(), names(GOOD))),
        ([Ask(BROKEN), Say("retry")], Ending(names(STABLE), names(BROKEN), names(BROKEN))),
        ([Ask(GOOD), Say("pause"), Say("resume")], Ending(names(GOOD), names(), names())),
    ],
)
def test_ending(actions: list[Ask | Say | Scale], expected: Ending) -> None:
    assert ending(STABLE, episode(*actions)) == expected


@pytest.mark.parametrize(
    ("serving", "rejected", "complaints"),
    [
        ("good-1", [], []),
        ("good-1", ["broken-1"], []),
        ("v1", [], ["v1 serves, not good-1"]),
        ("broken-1", [], ["broken-1 serves, not good-1"]),
        ("good-1", ["good-1"], ["good-1 is rejected"]),
    ],
)
def test_an_ending_is_judged(serving: str, rejected: list[str], complaints: list[str]) -> None:
    assert ending(STABLE, episode(Ask(BROKEN), Ask(GOOD))).complaints(serving, rejected) == complaints


def test_a_bad_version_that_is_not_rejected_is_told() -> None:
    assert ending(STABLE, episode(Ask(BROKEN))).complaints("v1", []) == ["broken-1 is not rejected"]


def test_a_seed_draws_the_same_again_and_another_seed_something_else() -> None:
    assert list(islice(episodes(7, 1), 20)) == list(islice(episodes(7, 1), 20))
    assert list(islice(episodes(7, 1), 20)) != list(islice(episodes(8, 1), 20))
    assert list(islice(episodes(7, 1), 20)) != list(islice(episodes(7, 2), 20))
    assert faults(7, 900, 50) == faults(7, 900, 50)
    assert faults(7, 900, 50) != faults(8, 900, 50)


def test_all_that_is_drawn_can_be_played() -> None:
    drawn = list(islice(episodes(7, 1), 300))
    assert len({each.name for each in drawn}) == 15, "every plot comes"
    for each in drawn:
        times = [deed.at for deed in each.deeds]
        assert times == sorted(times)
        assert times[0] == 0
        assert times[-1] <= 45
        assert isinstance(each.deeds[0].action, Ask | Choose | Scale)
        actions = [deed.action for deed in each.deeds]
        # A pause that nobody ends would let nothing come to rest.
        assert actions.count(Say("pause")) == actions.count(Say("resume"))
        bad = {version.kind for version in each.asked if version} - {"good"}
        # With the whole weight at once, only the watch could tell: it may be blind.
        assert Choose("BlueGreen") not in actions or bad <= {"absent"}
        assert Choose("Recreate") not in actions or bad <= {"absent"}
        assert Say("promote") not in actions or not bad
    versions = [version.name for each in drawn for version in set(each.asked) if version]
    assert len(versions) == len(set(versions)), "no name comes twice"


def test_kills_leave_the_end_alone() -> None:
    drawn = faults(7, 1000, 50)
    kills = [fault.at for fault in drawn if fault.kind == "kill"]
    assert len(kills) == 50
    assert max(kills) <= 1000 * KILLED_SHARE
    assert [fault.at for fault in drawn] == sorted(fault.at for fault in drawn)
    assert {fault.kind for fault in drawn} == {"kill", "prometheus", "api"}
    assert [fault for fault in faults(7, 1000, 0) if fault.kind == "kill"] == []
