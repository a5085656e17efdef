"""Who still counts on something that is being taken away."""

import asyncio
import contextlib


class Holders:
    """Counts those who have found a thing and are not done with it. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: asyncio.Future[None] | None = None

    def hold(self) -> None:
        """One more; as many calls of `release` are to follow."""
        self._count += 1

    def release(self) -> None:
        """One is done."""
        self._count -= 1
        if not self._count and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def gone(self, seconds: float) -> None:
        """Wait until there are none, at most `seconds`. One waiter at a time."""
        if self._count:
            self._waiting = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiting, seconds)
