"""Work that would hold up the event loop, in a thread beside it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], then: Callable[[Callable[[], T]], None]) -> None:
    """Do `work` in a thread; `then` is called in the event loop's with what gives its result, or raises its error."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    future.add_done_callback(lambda done: None if done.cancelled() else then(done.result))
