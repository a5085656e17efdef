"""Scenarios run side by side unless one breaks what another needs."""

from hypothesis import given
from hypothesis import strategies as st

from e2e.scenarios.timetable import OPERATOR, PROMETHEUS, QUIET, Entry, Plan, in_order, startable

ALL = frozenset({OPERATOR, PROMETHEUS})


def entry(name: str, needs: frozenset[str] = ALL, breaks: frozenset[str] = frozenset()) -> Entry:
    return Entry(name, Plan(needs, breaks, seconds=60))


KILL = entry("kill", needs=frozenset({PROMETHEUS}), breaks=frozenset({OPERATOR}))
OUTAGE = entry("outage", needs=frozenset({OPERATOR}), breaks=frozenset({PROMETHEUS}))
BEARS_IT = entry("bears it", needs=frozenset({PROMETHEUS}))
NO_DATA = entry("no data", needs=frozenset({OPERATOR}))


def test_as_many_start_as_there_are_places() -> None:
    waiting = [entry(str(number)) for number in range(5)]
    assert startable(waiting, [entry("running")], at_once=3) == waiting[:2]


def test_one_that_breaks_a_part_waits_for_those_who_need_it() -> None:
    assert startable([KILL], [entry("running")], at_once=3) == []
    assert startable([KILL], [], at_once=3) == [KILL]


def test_nobody_who_needs_the_part_overtakes_one_that_breaks_it() -> None:
    assert startable([OUTAGE, entry("later"), NO_DATA], [entry("running")], at_once=5) == [NO_DATA]


def test_the_one_that_sends_most_goes_first_beside_those_that_send_little() -> None:
    loud, sending = entry("loud", breaks=frozenset({QUIET})), entry("sending", needs=ALL | {QUIET})
    assert in_order([NO_DATA, sending, loud]) == [loud, sending, NO_DATA]
    assert startable([loud, sending, NO_DATA], [], at_once=5) == [loud, NO_DATA]


def test_nobody_starts_whose_part_is_broken_now() -> None:
    assert startable([entry("later"), NO_DATA], [OUTAGE], at_once=5) == [NO_DATA]


def test_the_order_is_by_what_is_needed() -> None:
    rollout = entry("rollout")
    assert in_order([BEARS_IT, KILL, NO_DATA, rollout, OUTAGE]) == [rollout, OUTAGE, NO_DATA, KILL, BEARS_IT]


def test_among_equals_the_longest_begins() -> None:
    short, long = (Entry(str(seconds), Plan(ALL, frozenset(), seconds)) for seconds in (60, 120))
    assert in_order([short, long]) == [long, short]


def test_two_that_break_different_parts_which_they_need_of_each_other_run_in_turn() -> None:
    assert startable([OUTAGE, KILL], [], at_once=5) == [OUTAGE]


parts = st.frozensets(st.sampled_from(sorted(ALL)))
plans = st.builds(lambda needs, breaks: Plan(needs - breaks, breaks, 60), parts, parts)


@given(st.lists(plans, max_size=8), st.integers(min_value=1, max_value=4))
def test_every_scenario_gets_its_turn_and_none_runs_beside_one_that_breaks_its_part(
    chosen: list[Plan], at_once: int
) -> None:
    waiting = [Entry(str(number), plan) for number, plan in enumerate(chosen)]
    running: list[Entry] = []
    ended = 0
    while waiting or running:
        started = startable(waiting, running, at_once)
        running += started
        waiting = [each for each in waiting if each not in started]
        assert running, "nothing runs and nothing can start"
        assert len(running) <= at_once
        for one in running:
            others = [each for each in running if each is not one]
            assert not any(one.plan.breaks & (other.plan.needs | other.plan.breaks) for other in others)
        running.pop(0)
        ended += 1
    assert ended == len(chosen)
