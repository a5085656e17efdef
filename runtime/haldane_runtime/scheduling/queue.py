"""The bounded queue between the event loop and the engine thread."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A request that waits for the engine.

    `deadline` is an instant of the clock. `deliver` is called from the engine thread, once for each
    run, whether or not anybody still waits for it.
    """

    request: InferRequest
    deadline: float
    deliver: Callable[[Outcome], None]


class RequestQueue:
    """At most `limit` waiting requests, first come first served. Methods may be called from any thread.

    A request whose waiter gave up leaves at once: its place and the memory of its tensors are free
    for another.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[Pending, None] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Pending) -> None:
        """Raises: RequestError: UNAVAILABLE, when the queue is full or closed."""
        with self._changed:
            self.require_room()
            self._items[item] = None
            self._changed.notify()

    def require_room(self) -> None:
        """Raises: RequestError: UNAVAILABLE, when a request put now would be refused."""
        if self._closed:
            raise RequestError(Code.UNAVAILABLE, "the server is stopping; try again later")
        if len(self) >= self._limit:
            raise RequestError(Code.UNAVAILABLE, f"the queue is full ({self._limit} requests); try again later")

    def abandon(self, item: Pending) -> None:
        """Give up the item's place; nothing happens when it was taken already."""
        with self._changed:
            self._items.pop(item, None)

    def take(self) -> Pending | None:
        """Wait for the next request; None once the queue is closed and empty."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            return self._items.popitem(last=False)[0] if self._items else None

    def close(self) -> None:
        """Take no more requests; those that wait are still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify()
