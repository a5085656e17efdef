"""Looks are never late, exactly an interval apart, spread over objects, and remember nothing of what held them up."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.schedule import SLOT, instant_of, next_look

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

uids = st.uuids().map(str)
moments = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
intervals = st.integers(1000, 3_600_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds))


def uid(number: int) -> str:
    return str(UUID(int=number * 2654435761 % 2**128))


@given(uids, moments, intervals)
def test_a_look_is_never_late_and_never_much_too_early(uid: str, last: datetime, interval: timedelta) -> None:
    following = next_look(uid, last, interval)
    assert last + interval / 2 < following <= last + interval
    assert next_look(uid, following, interval) == following + interval - _odd(interval)


def _odd(interval: timedelta) -> timedelta:
    """What an interval is longer than twice its half in milliseconds; then looks come by so much too early."""
    return interval % timedelta(milliseconds=2)


@pytest.mark.parametrize("seconds", [1, 5, 7, 10, 30, 60, 300])
def test_from_then_on_looks_are_an_interval_apart(seconds: int) -> None:
    interval = timedelta(seconds=seconds)
    look = next_look(uid(7), NOW + timedelta(milliseconds=123), interval)
    for number in range(1, 100):
        later = next_look(uid(7), look, interval)
        assert later - look == interval, number
        look = later


def test_a_thousand_objects_held_up_together_are_spread_again() -> None:
    """As after an outage of Prometheus or of the operator: all were looked at in the same moment."""
    interval = timedelta(seconds=30)
    looks = Counter(next_look(uid(number), NOW, interval) for number in range(1000))
    assert len(looks) == 15
    assert max(looks.values()) < 2 * 1000 / 15
    assert {(at - NOW) % SLOT for at in looks} == {timedelta(0)}


def test_restarts_move_nothing() -> None:
    """Whenever an object is looked at in between (each process begins with a look at what is overdue), its instants stay."""
    interval = timedelta(seconds=30)
    own = next_look(uid(3), NOW, interval)
    for late in (0.001, 3.0, 14.999):
        disturbed = own + timedelta(seconds=late)
        assert (next_look(uid(3), disturbed, interval) - own) % (interval / 2) == timedelta(0)


@pytest.mark.parametrize(
    ("late", "about"),
    [(0.0, 0.0), (0.4, 0.0), (0.999, 0.0), (1.0, 1.0), (8.7, 8.0), (3600.25, 3600.0)],
)
def test_a_look_is_about_when_it_was_due_unless_that_is_long_past(late: float, about: float) -> None:
    assert instant_of(NOW, NOW + timedelta(seconds=late)) == NOW + timedelta(seconds=about)


@given(moments, st.integers(0, 100_000))
def test_a_look_is_never_about_a_time_before_it_was_due_or_to_come(due: datetime, late: int) -> None:
    now = due + timedelta(milliseconds=late)
    assert due <= instant_of(due, now) <= now
