"""Slots that many share: whose work is slow holds up his own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """Slots for `at_once` pieces of work, of which one owner has `each` at most; first come, first served within that."""

    def __init__(self, at_once: int, each: int) -> None:
        self._all = asyncio.Semaphore(at_once)
        self._each = each
        # An owner that neither works nor waits is forgotten.
        self._owned: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Wait for a slot, and have it until the end of the block."""
        own = self._owned.setdefault(owner, asyncio.Semaphore(self._each))
        async with own, self._all:
            yield
