"""Who runs the engine: the event loop's own thread for short runs, a thread of its own for long ones."""

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from haldane_runtime.core.types import Array, InferRequest
from haldane_runtime.engine.base import Engine
from haldane_runtime.scheduling.merge import all_finite, merge

Clock = Callable[[], float]

INLINE_SECONDS = 0.002
# What no run that was thought to be quick may take.
FAR_TOO_SLOW_SECONDS = 10 * INLINE_SECONDS
# The thread's own clock costs a call of the system: it is read this rarely.
_LOOK_SECONDS = 0.01


@dataclass(slots=True)
class Run:
    """One run of the engine; `outputs` or `error`. Instants are of the clock, in seconds.

    `finite` is False when a float output holds NaN or Infinity, None when nobody has looked yet.
    """

    started: float
    finished: float
    outputs: Mapping[str, Array] | None = None
    error: BaseException | None = None
    finite: bool | None = None


def run_engine(engine: Engine, requests: Sequence[InferRequest], clock: Clock = time.monotonic) -> Run:
    """Run the requests as one, to the end, whatever happens.

    Merging takes memory of its own: the lack of it costs the requests, never the thread.
    """
    started = clock()
    try:
        outputs = engine.run(merge(requests), requests[0].outputs)
    except BaseException as error:
        return Run(started, clock(), error=error)
    return Run(started, clock(), outputs)


def looked_at(run: Run) -> Run:
    """The run with `finite`; a failed one when looking takes more memory than there is."""
    if run.outputs is None:
        return run
    try:
        run.finite = all_finite(run.outputs)
    except BaseException as error:
        return Run(run.started, run.finished, error=error)
    return run


class InlineBound:
    """Which runs may go in the event loop's own thread, where everybody waits for them.

    Handing a run to another thread and back takes a good part of INLINE_SECONDS. What costs less by all
    that is known goes inline; "known" means that the model's graph ties the cost to the inputs' shapes, and
    that inputs of at least half the size have been that quick, since the same rows may hold one word or a
    thousand. One slow run may be the machine's fault; two in a row take the proof back. A run that kept the
    event loop's own processor at work for far too long shows that nothing was known: no other goes inline.
    """

    def __init__(self, fixed_cost: bool, processor: Clock = time.thread_time) -> None:
        """`fixed_cost` as in `BatchProfile`; `processor` tells what the event loop's thread has had of it, in seconds."""
        self._trusted = fixed_cost
        self._processor = processor
        self._looked = self._used = -math.inf
        self._proved_bytes = 0
        self._doubtful = False

    def allows(self, expected: float, nbytes: int) -> bool:
        """`expected` seconds (0: unknown) for inputs of `nbytes`."""
        return self._trusted and 0.0 < expected <= INLINE_SECONDS and nbytes <= 2 * self._proved_bytes

    def begin(self, now: float) -> None:
        """A run goes inline at this instant."""
        if now - self._looked > _LOOK_SECONDS:
            self._looked, self._used = now, self._processor()

    def end(self, started: float, finished: float) -> None:
        """It went. What took long by standing still is the machine's fault, what kept the processor busy is the model's."""
        if finished - started > FAR_TOO_SLOW_SECONDS:
            # Before the run it cannot have had more than all of the time.
            used = self._processor() - self._used - (started - self._looked)
            self._trusted = self._trusted and used <= FAR_TOO_SLOW_SECONDS

    def observe(self, seconds: float, nbytes: int) -> None:
        """Learn from a run, wherever it went."""
        if seconds <= INLINE_SECONDS:
            self._proved_bytes = max(self._proved_bytes, nbytes)
            self._doubtful = False
        elif nbytes <= 2 * self._proved_bytes:
            if self._doubtful:
                self._proved_bytes = nbytes // 4
            self._doubtful = not self._doubtful


@dataclass(slots=True)
class _Job:
    requests: Sequence[InferRequest]
    wanted: Callable[[], bool]
    done: Callable[[Run | None], None]


class EngineThreads:
    """Run jobs in the order in which they come, as many at a time as there are threads."""

    def __init__(self, engine: Engine, clock: Clock = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # False when a thread is gone, which nothing but a restart mends. Asked for every request.
        self.alive = True

    def __len__(self) -> int:
        return len(self._threads)

    def add(self) -> None:
        """One more thread. Raises: RuntimeError: the system has none to give."""
        thread = threading.Thread(target=self._work, name="engine", daemon=True)
        thread.start()
        self._threads.append(thread)

    def run(
        self, requests: Sequence[InferRequest], wanted: Callable[[], bool], done: Callable[[Run | None], None]
    ) -> None:
        """Queue one run; `done` is called in its thread, with None when it was not `wanted` any more at its turn."""
        self._jobs.put(_Job(requests, wanted, done))

    def stop(self, timeout: float) -> None:
        """Finish what was handed over; wait at most `timeout` seconds for it."""
        until = time.monotonic() + timeout
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def stopped(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                # Outputs of a long run are large: looking at them here does not hold up the event loop.
                job.done(looked_at(run_engine(self._engine, job.requests, self._clock)) if job.wanted() else None)
                # The tensors must not outlive their requests while the thread waits for the next job.
                del job
        finally:
            self.alive = False
