"""One request in the batcher's hands, and what becomes of it."""

from collections.abc import Callable

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import InferRequest, InferResponse
from haldane_runtime.scheduling.merge import MergeKey

Outcome = InferResponse | RequestError
Done = Callable[[Outcome], None]


class Ticket:
    """One request that waits or runs; `over` once its outcome was delivered or nobody wants it any more.

    `deadline` and `queued` are instants of the clock, in seconds; `nbytes` is the size of its tensors.
    """

    __slots__ = ("deadline", "done", "key", "nbytes", "over", "queued", "request", "rows")

    def __init__(
        self,
        request: InferRequest,
        deadline: float,
        done: Done,
        queued: float,
        rows: int,
        key: MergeKey | None,
        nbytes: int,
    ) -> None:
        self.request = request
        self.deadline = deadline
        self.done = done
        self.queued = queued
        self.rows = rows
        self.key = key
        self.nbytes = nbytes
        self.over = False
