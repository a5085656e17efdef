"""A model opened twice, for who is alone and for who shares the processor.

A run with all threads is over soonest, and is what a lone request should get. Several such runs at once pay for every
layer's wait for its last thread; with one thread each, none waits for another. A session's threads cannot be chosen by the
run, so there are two sessions, which hold the weights twice.
"""

import threading
from collections.abc import Mapping, Sequence

from haldane_runtime.core.types import Array, ModelSignature
from haldane_runtime.engine.base import Engine


def pays(threads: int, runs: int) -> bool:
    """Whether so many runs at once ever get as far as the narrow session, when `threads` are all that may be used."""
    return threads > 1 and 2 * (runs - 1) >= threads


class Pair:
    """An engine: `wide`, with `threads` threads, until half as many runs are under way, then `narrow`, with one."""

    def __init__(self, wide: Engine, narrow: Engine, threads: int) -> None:
        self._wide = wide
        self._narrow = narrow
        self._threads = threads
        self._inside = 0
        self._counting = threading.Lock()

    @property
    def signature(self) -> ModelSignature:
        """See `Engine.signature`."""
        return self._wide.signature

    @property
    def device(self) -> str:
        """See `Engine.device`."""
        return self._wide.device

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """See `Engine.run`."""
        with self._counting:
            engine = self._narrow if 2 * self._inside >= self._threads else self._wide
            self._inside += 1
        try:
            return engine.run(inputs, outputs)
        finally:
            with self._counting:
                self._inside -= 1

    def part(self) -> Engine:
        """The wide engine alone; the other is closed."""
        self._narrow.close()
        return self._wide

    def close(self) -> None:
        """See `Engine.close`."""
        self._wide.close()
        self._narrow.close()
