"""The one thread that runs the engine."""

import threading
import time
from collections.abc import Callable

import numpy as np

from haldane_runtime.engine.base import Engine
from haldane_runtime.scheduling.queue import Outcome, Pending, RequestQueue


class EngineWorker:
    """Takes requests from the queue in order, skips the dead ones and delivers what the engine says.

    One thread, because an ONNX Runtime session already uses its own threads for one request:
    a second concurrent run would only share them.
    """

    def __init__(self, engine: Engine, queue: RequestQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._queue = queue
        self._clock = clock
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """Finish what is queued, then close the engine; wait at most `timeout` seconds for it."""
        self._queue.close()
        self._thread.join(timeout)

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            # The waiter of a late request answers its client itself; running it would only delay the others.
            if self._clock() < item.deadline:
                item.deliver(self._run(item))
        self._engine.close()

    def _run(self, item: Pending) -> Outcome:
        started = self._clock()
        try:
            outputs = self._engine.run(item.request.inputs, item.request.outputs)
            finished = self._clock()
            # Looked at here rather than in the event loop, which must stay free for the other clients. It takes
            # memory of its own, and the lack of it must cost this request, not the thread.
            finite = all(bool(np.isfinite(array).all()) for array in outputs.values() if array.dtype.kind == "f")
        except BaseException as error:
            return Outcome(started, self._clock(), error=error)
        return Outcome(started, finished, outputs, finite=finite)
