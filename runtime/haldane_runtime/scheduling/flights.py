"""The runs that are on their way in threads of their own, and how much of each is done.

Runs at the same time share the processor, so that one of two takes twice as long as it would alone.
What is learned and foreseen from them is their share of the time: n runs progress at a rate of 1/n
each (processor sharing; L. Kleinrock, Time-shared systems: a theoretical treatment, JACM 14, 1967).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from haldane_runtime.engine.base import Engine
from haldane_runtime.scheduling.executor import Clock, EngineThread, Run
from haldane_runtime.scheduling.ticket import Ticket


@dataclass(slots=True, eq=False)
class _Flight:
    batch: list[Ticket]
    expected: float
    thread: EngineThread
    began: float
    """The common progress at its start."""
    started: float


@dataclass(slots=True)
class _Progress:
    """Seconds of work that a run would have seen done since the engine was last free."""

    done: float = 0.0
    at: float = 0.0

    def advance(self, runs: int, now: float) -> float:
        if runs:
            self.done += (now - self.at) / runs
        else:
            self.done = 0.0
        self.at = now
        return self.done


@dataclass(slots=True)
class Landed:
    """A run that is over. `share` is the part of the engine that it had on average, in (0, 1]."""

    batch: list[Ticket]
    run: Run
    share: float = 1.0


@dataclass(slots=True)
class Flights:
    """Up to `most` runs at once; `land` is called with each that ends, in the event loop's thread."""

    engine: Engine
    most: int
    land: Callable[[Landed], None]
    clock: Clock = time.monotonic
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _threads: list[EngineThread] = field(default_factory=list)
    _idle: list[EngineThread] = field(default_factory=list)
    _flights: list[_Flight] = field(default_factory=list)
    _progress: _Progress = field(default_factory=_Progress)

    def __bool__(self) -> bool:
        return bool(self._flights)

    @property
    def full(self) -> bool:
        return len(self._flights) >= self.most

    @property
    def alive(self) -> bool:
        """False when a thread is gone, which nothing but a restart mends."""
        return all(thread.alive for thread in self._threads)

    def tickets(self) -> Iterator[Ticket]:
        """Who waits for the runs."""
        for flight in self._flights:
            yield from flight.batch

    def launch(self, batch: list[Ticket], expected: float) -> None:
        """Run a batch that should take `expected` seconds alone.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        if not self._idle:
            self._threads.append(EngineThread(self.engine, self.clock))
            self._idle.append(self._threads[-1])
        thread = self._idle.pop()
        now = self.clock()
        began = self._progress.advance(len(self._flights), now)
        flight = _Flight(batch, expected, thread, began, now)
        self._flights.append(flight)
        thread.run([ticket.request for ticket in batch], lambda run: self._landing(flight, run))

    def busy_until(self) -> float:
        """The instant at which all of them should be over; 0 when there are none."""
        if not self._flights:
            return 0.0
        now = self.clock()
        done = self._progress.advance(len(self._flights), now)
        return now + sum([max(0.0, flight.expected - (done - flight.began)) for flight in self._flights])

    def stop(self, timeout: float) -> bool:
        """End the threads after what they run, waiting at most `timeout` seconds; True when they have ended."""
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.stop(max(0.0, until - time.monotonic()))
        return not any(thread.alive for thread in self._threads)

    def _landing(self, flight: _Flight, run: Run) -> None:
        # A closed loop means that the process ends: nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._landed, flight, run)

    def _landed(self, flight: _Flight, run: Run) -> None:
        now = self.clock()
        progress = self._progress.advance(len(self._flights), now) - flight.began
        self._flights.remove(flight)
        self._idle.append(flight.thread)
        elapsed = now - flight.started
        self.land(Landed(flight.batch, run, min(1.0, progress / elapsed) if elapsed > 0.0 else 1.0))
