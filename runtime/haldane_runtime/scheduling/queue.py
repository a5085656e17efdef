"""The bounded queue between the event loop and the engine thread."""

import queue
from collections.abc import Callable
from dataclasses import dataclass, field

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, InferRequest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the engine made of a request. Instants are of `time.monotonic`, in seconds.

    Exactly one of `outputs` and `error` is set; `finite` is False when a float output holds NaN
    or Infinity.
    """

    started: float
    finished: float
    outputs: dict[str, Array] | None = None
    error: BaseException | None = None
    finite: bool = True


@dataclass(slots=True, eq=False)
class Pending:
    """A request that waits for the engine.

    `deliver` is called from the engine thread, once, unless nobody waits any more: the waiter sets
    `abandoned` when its deadline has passed or its client has left, and the work is then skipped.
    """

    request: InferRequest
    deadline: float
    deliver: Callable[[Outcome], None]
    abandoned: bool = field(default=False)


class RequestQueue:
    """At most `limit` waiting requests, first come first served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()

    def __len__(self) -> int:
        return self._items.qsize()

    def put(self, item: Pending) -> None:
        """Raises: RequestError: UNAVAILABLE, when the queue is full."""
        if len(self) >= self._limit:
            raise RequestError(Code.UNAVAILABLE, f"the queue is full ({self._limit} requests); try again later")
        self._items.put(item)

    def take(self) -> Pending | None:
        """Wait for the next request; None once the queue is closed and empty."""
        return self._items.get()

    def close(self) -> None:
        self._items.put(None)
