"""A client of asyncio called like one that waits, so that one test holds for both."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Blocking:
    """Every method of `client` runs to its end on `runner`'s loop."""

    def __init__(self, runner: asyncio.Runner, client: Any) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))


@contextmanager
def blocking(make: Callable[[], Any]) -> Iterator[Any]:
    """The client that `make` gives within a loop of its own, closed in the end."""

    async def made() -> Any:
        return make()

    with asyncio.Runner() as runner:
        client = runner.run(made())
        try:
            yield Blocking(runner, client)
        finally:
            runner.run(client.close())
