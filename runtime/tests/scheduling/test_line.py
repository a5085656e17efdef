"""The line against one that looks at all who wait, and at sizes where such a one is too slow."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.types import InferRequest
from haldane_runtime.scheduling.line import WaitingLine
from haldane_runtime.scheduling.merge import MergeKey
from haldane_runtime.scheduling.ticket import Outcome, Ticket

REQUEST = InferRequest({}, ("y",))
NOW, FAR = 100.0, 1e9
ROWS, BYTES = 4, 100


def ignore(_: Outcome) -> None:
    pass


def waiting(queued: float, rows: int = 1, key: MergeKey | None = "a", nbytes: int = 1, deadline: float = FAR) -> Ticket:
    return Ticket(REQUEST, deadline, ignore, queued, rows, key, nbytes)


def expected_take(line: list[Ticket]) -> tuple[list[Ticket], list[Ticket]]:
    batch: list[Ticket] = []
    late: list[Ticket] = []
    while line and not batch:
        key = line[0].key
        for ticket in [ticket for ticket in line if ticket.key == key]:
            full = sum(other.rows for other in batch) + ticket.rows > ROWS
            large = sum(other.nbytes for other in batch) + ticket.nbytes > BYTES
            if batch and (key is None or full or large):
                break
            line.remove(ticket)
            (late if ticket.deadline <= NOW else batch).append(ticket)
    return batch, late


arrivals = st.tuples(
    st.integers(1, ROWS + 1), st.sampled_from([None, "a", "b"]), st.integers(1, BYTES), st.sampled_from([NOW - 1, FAR])
)


@given(st.lists(arrivals | st.just("take") | st.integers(0, 20)))
def test_who_goes_with_whom(steps: list[tuple[int, str | None, int, float] | str | int]) -> None:
    line = WaitingLine()
    expected: list[Ticket] = []
    gone = waiting(0.0)
    for instant, step in enumerate(steps):
        if isinstance(step, tuple):
            rows, key, nbytes, deadline = step
            ticket = waiting(float(instant), rows, key, nbytes, deadline)
            line.add(ticket)
            expected.append(ticket)
        elif isinstance(step, int):
            leaves = expected.pop(step) if step < len(expected) else gone
            line.withdraw(leaves)
            gone = leaves
        else:
            assert line.take(ROWS, BYTES, NOW) == expected_take(expected)
        assert list(line) == expected
        assert bool(line) == bool(expected)
        backlog = line.backlog
        assert (backlog.requests, backlog.rows, backlog.bytes) == (
            len(expected),
            sum(ticket.rows for ticket in expected),
            sum(ticket.nbytes for ticket in expected),
        )


@pytest.mark.timeout(30)
def test_a_hundred_thousand_may_leave_from_anywhere() -> None:
    """Whoever is looked for among all who wait takes this from a fraction of a second to minutes."""
    line = WaitingLine()
    tickets = [waiting(float(n)) for n in range(100_000)]
    for ticket in tickets:
        line.add(ticket)
    random.Random(1).shuffle(tickets)
    for ticket in tickets:
        line.withdraw(ticket)
    assert not line


@pytest.mark.timeout(30)
def test_a_lane_each_costs_no_look_at_every_lane() -> None:
    line = WaitingLine()
    for n in range(50_000):
        line.add(waiting(float(n), key=n))
    for n in range(50_000):
        (ticket,), _ = line.take(ROWS, BYTES, NOW)
        assert ticket.queued == n
