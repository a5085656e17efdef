"""What is asked at about the same time, gathered for a moment, and the tasks that then fetch it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from haldane.control.ports import Answer

Asked = TypeVar("Asked", bound=Hashable)
Gathered = Mapping[Asked, "asyncio.Future[Answer]"]


class Gathering(Generic[Asked]):
    """Waits `seconds` from the first that is asked; `errands` makes of all that was gathered what will answer it."""

    def __init__(
        self, seconds: float, errands: Callable[[Gathered[Asked]], Iterable[Coroutine[Any, Any, Any]]]
    ) -> None:
        self._seconds = seconds
        self._errands = errands
        self._gathered: dict[Asked, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def ask(self, asked: Asked) -> asyncio.Future[Answer]:
        """The answer to come; whoever waits for it shares it with others."""
        loop = asyncio.get_running_loop()
        if not self._gathered:
            loop.call_later(self._seconds, self._send)
        if asked not in self._gathered:
            self._gathered[asked] = loop.create_future()
        return self._gathered[asked]

    def start(self, errand: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it to its end, whoever waits for it."""
        task = asyncio.create_task(errand)
        self._tasks.add(task)  # the event loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for errand in self._errands(gathered):
            self.start(errand)
