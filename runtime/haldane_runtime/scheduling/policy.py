"""What is admitted, and when a batch goes. Pure: the clock is an argument."""

import math
from dataclasses import dataclass

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.scheduling.cost import LearnedCost

# A bound by the cost of a run alone would refuse for a late turn of the event loop, in seconds.
LEAST_QUEUE_DELAY = 0.01

# The bound for those who do not name one: so many runs a Poisson process at 80 % load queues by itself now and then.
AUTO_QUEUE_RUNS = 8

# A client told to come back at once would only be refused again.
MIN_RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how it is batched.

    `requests` and `rows` are counts (`rows` bounds what waits in one-row units, so that a few huge
    requests do not hide behind the count), `bytes` is the tensors' memory, `max_rows` and
    `batch_bytes` bound one batch (rows may be of any size where inner dimensions are free), `max_delay` the seconds that a batch may wait for company although the engine is free,
    `queue_delay` the seconds that a request may have to wait for the engine, `queue_runs` the same in
    runs of one row, by what they cost at the time (0: as long as its deadline allows).
    """

    requests: int = 1024
    rows: int = 65536
    bytes: int = 256 << 20
    max_rows: int = 64
    batch_bytes: int = 32 << 20
    max_delay: float = 0.0
    queue_delay: float = 0.0
    queue_runs: int = 0


@dataclass(slots=True)
class Backlog:
    """What waits or runs now: counts, bytes, and the instant at which the running batch should end."""

    requests: int = 0
    rows: int = 0
    bytes: int = 0
    busy_until: float = 0.0


def refusal(
    limits: Limits, backlog: Backlog, cost: LearnedCost, nbytes: int, deadline: float, now: float
) -> RequestError | None:
    """Why a request of `nbytes` is refused now; None when it is admitted.

    A server with nothing to do admits everything: an estimate that is too high can only be
    corrected by a run.
    """
    if not backlog.requests and backlog.busy_until <= now:
        return None
    has_room = (
        backlog.requests < limits.requests
        and backlog.rows < limits.rows
        and (backlog.bytes + nbytes <= limits.bytes or not backlog.bytes)
    )
    if has_room and not limits.queue_delay and not limits.queue_runs:
        # Even the slowest batches would be done in time: most requests are spared the exact estimate.
        start = backlog.busy_until if backlog.busy_until > now else now
        if start + (backlog.rows // limits.max_rows + 1) * cost.worst < deadline:
            return None
    wait = expected_wait(limits, backlog, cost, now)
    if backlog.requests >= limits.requests:
        return _full(f"the queue is full ({limits.requests} requests); try again later", wait)
    if backlog.rows >= limits.rows:
        return _full(f"the queue is full ({limits.rows} rows); try again later", wait)
    if not has_room:
        return _full(f"the queue is full ({limits.bytes} bytes of tensors); try again later", wait)
    longest = longest_wait(limits, cost)
    if wait > longest:
        return _full(
            f"the wait would be {wait:.3g} s, longer than the {longest:.3g} s that this server lets requests "
            "queue; try again later",
            wait - longest,
        )
    if now + wait > deadline:
        return RequestError(
            Code.WOULD_BE_LATE,
            f"the server is busy for the next {wait:.3g} s, which is past the request's deadline; try again later",
            retry_after=max(MIN_RETRY_SECONDS, wait),
        )
    return None


def longest_wait(limits: Limits, cost: LearnedCost) -> float:
    """The seconds that a request may have to wait for the engine; infinite when only its deadline bounds them."""
    if limits.queue_delay:
        return limits.queue_delay
    if limits.queue_runs:
        return max(LEAST_QUEUE_DELAY, limits.queue_runs * cost.predict(1))
    return math.inf


def expected_wait(limits: Limits, backlog: Backlog, cost: LearnedCost, now: float) -> float:
    """The seconds until a request that comes now would start to run."""
    running = max(0.0, backlog.busy_until - now)
    if not backlog.rows:
        return running
    batch = min(backlog.rows, limits.max_rows)
    return running + math.ceil(backlog.rows / limits.max_rows) * cost.predict(batch)


def is_full(limits: Limits, backlog: Backlog) -> bool:
    """True when waiting for company would only keep others out: no more fits in the batch, or in the queue."""
    return (
        backlog.rows >= limits.max_rows
        or backlog.requests >= limits.requests
        or backlog.bytes >= min(limits.batch_bytes, limits.bytes)
    )


def company_until(limits: Limits, expected: float, queued: float, deadline: float) -> float:
    """The instant until which a request may wait for company before a run of `expected` seconds.

    `max_delay` after it was `queued`; sooner when that would take more than half of the time that it
    has left beside the run, which the estimate of the run may well be wrong by.
    """
    return queued + min(limits.max_delay, (deadline - queued - expected) / 2)


def _full(message: str, seconds: float) -> RequestError:
    return RequestError(Code.UNAVAILABLE, message, retry_after=max(MIN_RETRY_SECONDS, seconds))
