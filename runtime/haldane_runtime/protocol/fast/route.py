"""What all connections share: the models, the limits, the remembered heads."""

import itertools
import os
import time
from collections.abc import Callable

from haldane_runtime.core.dataplane import DataPlane, Phase
from haldane_runtime.core.errors import RequestError
from haldane_runtime.protocol.fast.head import Head, Heads
from haldane_runtime.protocol.fast.hot import HotModel


class HotRoute:
    """One of these serves every connection of a server; times are in seconds, sizes in bytes."""

    def __init__(
        self,
        plane: DataPlane,
        request_bytes: int,
        request_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plane = plane
        self.request_bytes = request_bytes
        self.request_timeout = request_timeout
        self.clock = clock
        self.heads = Heads()
        self._models: dict[tuple[str | None, str | None], HotModel] = {}
        self._generation = plane.generation
        # Unique without asking the kernel for random bytes each time.
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex()
        self._defaults_of: list[tuple[bytes, bytes]] | None = None
        self._defaults = b""

    @property
    def draining(self) -> bool:
        return self._plane.phase is Phase.DRAINING

    def find(self, head: Head) -> HotModel | None:
        """The model that is asked for; None when the general path must say why there is none."""
        if self._generation != self._plane.generation:
            self._generation = self._plane.generation
            self._models = {}
        key = (head.model, head.version)
        hot = self._models.get(key)
        if hot is None:
            try:
                instance = self._plane.find(head.model, head.version)
            except RequestError:
                return None
            hot = self._models[key] = HotModel(instance, self._plane.metrics.revision)
        return hot

    def new_id(self) -> str:
        return f"{self._id_prefix}{next(self._ids):x}"

    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's own header lines, the date above all; it makes a new list every second."""
        if headers is not self._defaults_of:
            self._defaults_of = headers
            self._defaults = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._defaults
