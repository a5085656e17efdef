"""One timer for the deadlines of all requests, set to the earliest."""

import asyncio
import math
from collections.abc import Callable

from haldane_runtime.scheduling.executor import Clock


class DeadlineTimer:
    """Calls `passed` at an instant of the clock; `at` is that instant, infinite when none is set."""

    def __init__(self, passed: Callable[[], None], clock: Clock) -> None:
        self.at = math.inf
        self._passed = passed
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Instead of what was set before; nothing for one that is infinite."""
        self.cancel()
        if deadline < math.inf:
            self.at = deadline
            self._timer = self._loop.call_later(max(0.0, deadline - self._clock()), self._fire)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.at = math.inf

    def _fire(self) -> None:
        self._timer = None
        self.at = math.inf
        self._passed()
