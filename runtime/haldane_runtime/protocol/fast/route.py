"""What all connections share: the models, the limits, the remembered heads."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from haldane_runtime.core.errors import RequestError
from haldane_runtime.protocol.fast.head import Head, Heads
from haldane_runtime.protocol.fast.hot import HotModel
from haldane_runtime.protocol.fast.served import Plane

if TYPE_CHECKING:
    from haldane_runtime.protocol.fast.request import HotRequest

_STATUS_LINE: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}


class HotRoute:
    """One of these serves every connection of a server; times are in seconds, sizes in bytes."""

    def __init__(
        self,
        plane: Plane,
        request_bytes: int,
        request_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plane = plane
        self.watch = plane.watch
        self.intake = plane.intake
        self.request_bytes = request_bytes
        self.request_timeout = request_timeout
        self.clock = clock
        self.heads = Heads()
        self._models: dict[tuple[str | None, str | None], HotModel] = {}
        self._generation = plane.generation
        # Unique without asking the kernel for random bytes each time.
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex()
        self._uncounted: list[tuple[HotRequest, int, float]] = []
        self._defaults: list[tuple[bytes, bytes]] | None = None
        self._openings: dict[tuple[int, bytes], bytes] = {}

    def find(self, head: Head) -> HotModel | None:
        """The model that is asked for; None when the general path must say why there is none."""
        if self._generation != self.plane.generation:
            self._generation = self.plane.generation
            self._models = {}
        key = (head.model, head.version)
        hot = self._models.get(key)
        if hot is None:
            try:
                instance = self.plane.find(head.model, head.version)
            except RequestError:
                return None
            hot = self._models[key] = HotModel(instance, self.plane.revision)
        return hot

    def new_id(self) -> str:
        return f"{self._id_prefix}{next(self._ids):x}"

    def count(self, request: "HotRequest", status: int, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """Count an answered request, after the answers of this turn of the loop have left."""
        if not self._uncounted:
            loop.call_soon(self._count)
        self._uncounted.append((request, status, now))

    def _count(self) -> None:
        answered, self._uncounted = self._uncounted, []
        for request, status, now in answered:
            request.count(status, now)

    def opening(self, status: int, headers: bytes, defaults: list[tuple[bytes, bytes]]) -> bytes:
        """An answer's first lines up to the length's value; `defaults` are uvicorn's own, the date above all."""
        if defaults is not self._defaults:
            # A new list every second.
            self._defaults = defaults
            self._openings = {}
        opening = self._openings.get((status, headers))
        if opening is None:
            lines = b"".join(b"%b: %b\r\n" % line for line in defaults)
            opening = self._openings[status, headers] = b"%b%b%bcontent-length: " % (
                _STATUS_LINE[status],
                lines,
                headers,
            )
        return opening
