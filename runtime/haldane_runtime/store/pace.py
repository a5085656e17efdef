"""Whether a download still moves, whichever of its connections does."""

import threading
from collections.abc import Callable

# So little in so long is an end, however long the storage would go on with it.
LEAST_BYTES = 10 << 10
PATIENCE_SECONDS = 10.0


class Pace:
    """Called from every thread of a download; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bytes = 0
        self._moved = clock()

    def received(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            if self._bytes >= LEAST_BYTES:
                self._bytes = 0
                self._moved = self._clock()

    def finished(self) -> None:
        """A whole file or range has arrived, however small."""
        self.received(LEAST_BYTES)

    @property
    def stalled(self) -> bool:
        """True when the last `PATIENCE_SECONDS` have brought less than `LEAST_BYTES`."""
        with self._lock:
            return self._clock() - self._moved > PATIENCE_SECONDS
