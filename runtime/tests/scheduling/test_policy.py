import math

import pytest

from haldane_runtime.core.errors import Code
from haldane_runtime.scheduling.cost import LearnedCost
from haldane_runtime.scheduling.policy import (
    LEAST_QUEUE_DELAY,
    MIN_RETRY_SECONDS,
    Backlog,
    Limits,
    company_until,
    expected_wait,
    is_full,
    longest_wait,
    refusal,
)

LIMITS = Limits(requests=10, rows=100, bytes=1000, max_rows=8)
COST = LearnedCost({1: 0.010, 8: 0.040})
NOW, FAR = 100.0, 1000.0


@pytest.mark.parametrize(
    ("backlog", "wait"),
    [
        (Backlog(), 0),
        (Backlog(busy_until=NOW - 1), 0),
        (Backlog(busy_until=NOW + 0.5), 0.5),
        (Backlog(1, 1, 1), 0.010),
        (Backlog(8, 8, 1), 0.040),
        (Backlog(9, 9, 1, NOW + 0.5), 0.580),
    ],
)
def test_the_wait_is_the_running_batch_and_those_before(backlog: Backlog, wait: float) -> None:
    assert expected_wait(LIMITS, backlog, COST, NOW) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("backlog", "nbytes", "deadline", "code", "words"),
    [
        (Backlog(10, 10, 10), 1, FAR, Code.UNAVAILABLE, "10 requests"),
        (Backlog(1, 100, 10), 1, FAR, Code.UNAVAILABLE, "100 rows"),
        (Backlog(1, 1, 900), 101, FAR, Code.UNAVAILABLE, "1000 bytes"),
        (Backlog(8, 8, 8), 1, NOW + 0.03, Code.WOULD_BE_LATE, "past the request's deadline"),
        (Backlog(busy_until=NOW + 1), 1, NOW + 0.5, Code.WOULD_BE_LATE, "busy for the next 1 s"),
    ],
)
def test_what_is_refused_and_why(backlog: Backlog, nbytes: int, deadline: float, code: Code, words: str) -> None:
    error = refusal(LIMITS, backlog, COST, nbytes, deadline, NOW)
    assert error is not None
    assert error.code is code
    assert words in error.message
    assert error.retry_after is not None
    assert error.retry_after > 0


@pytest.mark.parametrize(
    ("backlog", "nbytes", "deadline"),
    [
        (Backlog(9, 9, 9), 1, FAR),
        (Backlog(8, 8, 8), 1, NOW + 0.05),
        (Backlog(), 10**9, FAR),
        # Nothing runs: however slow the model seems, only a run can show that it is not.
        (Backlog(), 1, NOW + 0.000001),
        (Backlog(busy_until=NOW - 1), 1, NOW + 0.000001),
    ],
)
def test_what_is_admitted(backlog: Backlog, nbytes: int, deadline: float) -> None:
    assert refusal(LIMITS, backlog, COST, nbytes, deadline, NOW) is None


def test_a_standing_queue_is_shed_by_its_delay() -> None:
    limits = Limits(max_rows=8, queue_delay=0.1)
    assert refusal(limits, Backlog(16, 16, 1), COST, 1, FAR, NOW) is None
    error = refusal(limits, Backlog(24, 24, 1), COST, 1, FAR, NOW)
    assert error is not None
    assert "longer than the 0.1 s" in error.message


@pytest.mark.parametrize(
    ("limits", "cost", "seconds"),
    [
        (Limits(), LearnedCost({1: 0.02}), math.inf),
        (Limits(queue_delay=0.3), LearnedCost({1: 0.02}), 0.3),
        (Limits(queue_runs=8), LearnedCost({1: 0.02, 64: 0.5}), 0.16),
        # Never so short that a late turn of the event loop would refuse; nor as long as nothing is known.
        (Limits(queue_runs=8), LearnedCost({1: 0.0001}), LEAST_QUEUE_DELAY),
        (Limits(queue_runs=8), LearnedCost(), LEAST_QUEUE_DELAY),
    ],
)
def test_the_longest_wait(limits: Limits, cost: LearnedCost, seconds: float) -> None:
    assert longest_wait(limits, cost) == pytest.approx(seconds)


def test_a_bound_in_runs_follows_what_a_run_costs() -> None:
    limits, cost, backlog = Limits(max_rows=1, queue_runs=8), LearnedCost({1: 0.02}), Backlog(9, 9, 9)
    error = refusal(limits, backlog, cost, 1, FAR, NOW)
    assert error is not None
    assert "longer than the 0.16 s" in error.message
    assert error.retry_after == pytest.approx(MIN_RETRY_SECONDS)
    assert refusal(limits, Backlog(8, 8, 8), cost, 1, FAR, NOW) is None
    for _ in range(100):
        cost.observe(1, 0.1)
    # A slower machine is no reason to refuse: the same queue is as many runs as before.
    assert refusal(limits, Backlog(8, 8, 8), cost, 1, FAR, NOW) is None
    assert longest_wait(limits, cost) == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize(
    ("backlog", "full"),
    [
        (Backlog(7, 7, 400), False),
        (Backlog(1, 8, 1), True),
        # Nobody else is let in, so that the batch would wait in vain.
        (Backlog(10, 7, 1), True),
        (Backlog(1, 1, 500), True),
    ],
)
def test_when_a_batch_is_full(backlog: Backlog, full: bool) -> None:
    assert is_full(Limits(requests=10, rows=100, bytes=1000, max_rows=8, batch_bytes=500), backlog) is full


@pytest.mark.parametrize(
    ("deadline", "expected", "until"),
    [
        (FAR, 0.0, 0.5),
        (NOW + 1.2, 0.2, 0.5),
        (NOW + 0.5, 0.1, 0.2),
        (NOW + 0.1, 0.1, 0.0),
        (NOW + 0.1, 0.2, -0.05),
    ],
)
def test_how_long_a_request_waits_for_company(deadline: float, expected: float, until: float) -> None:
    assert company_until(Limits(max_delay=0.5), expected, NOW, deadline) == pytest.approx(NOW + until)
