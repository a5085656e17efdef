"""Work that ends when nobody waits for it any more."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """What `work` gives, unless the client leaves first: then it is cancelled. The body must have been read.

    Raises:
        ClientDisconnect: the client left.
    """
    waiter = asyncio.current_task()
    assert waiter is not None
    watch = asyncio.ensure_future(_leaving(request))
    waiting = True

    def leave(ended: asyncio.Future[None]) -> None:
        # The client may leave in the same turn of the loop in which the work ends.
        if waiting and not ended.cancelled():
            waiter.cancel()

    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        # Both may come at once; a cancellation from outside is not ours to take.
        if watch.done() and not watch.cancelled() and waiter.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        waiting = False
        watch.cancel()


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
