"""A loop whose time is exact, because it jumps to the next timer instead of sleeping; and a cluster in memory."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from .cluster import MemoryCluster


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: what would have been waited for is added to `now`."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits and no timer is set")
        if not ready and timeout:
            self.now += timeout
        return ready


class ExactLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run_exactly() -> Run:
    """Run a coroutine on a loop of exact time that starts at 0."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=ExactLoop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()
