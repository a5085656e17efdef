"""The runs that are on their way in threads of their own, and how much of each is done.

Runs at the same time share the processor, so that one of two takes twice as long as it would alone.
What is learned and foreseen from them is their share of the time: n runs progress at a rate of 1/n
each (processor sharing; L. Kleinrock, Time-shared systems: a theoretical treatment, JACM 14, 1967).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from haldane_runtime.engine.base import Engine
from haldane_runtime.scheduling.executor import Clock, EngineThreads, Run
from haldane_runtime.scheduling.ticket import Ticket

# With several runs at once, so many more lie ready for the first thread that is free: it does not wait for the event loop.
AHEAD = 1


@dataclass(slots=True)
class Landed:
    """A batch whose run is over; `run` is None when nobody wanted it any more before it began.

    `cost` is the run's own part of the time that it took, in seconds.
    """

    batch: list[Ticket]
    run: Run | None
    cost: float


@dataclass(slots=True, eq=False)
class _Flight:
    batch: list[Ticket]
    expected: float
    began: float
    """The common progress at its start."""


class Flights:
    """Up to `most` runs at once; `land` is called with each that ends, in the event loop's thread."""

    def __init__(
        self, engine: Engine, most: int, land: Callable[[Landed], None], clock: Clock = time.monotonic
    ) -> None:
        self._most = most
        self._room = most + AHEAD if most > 1 else 1
        self._land = land
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = EngineThreads(engine, clock)
        self._flights: list[_Flight] = []
        # Seconds of work that a run would have seen done since the engine was last free, as of an instant.
        self._progress = 0.0
        self._progress_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._flights)

    @property
    def full(self) -> bool:
        return len(self._flights) >= self._room

    @property
    def alive(self) -> bool:
        """False when a thread is gone, which nothing but a restart mends."""
        return self._threads.alive

    def tickets(self) -> Iterator[Ticket]:
        """Who waits for the runs."""
        for flight in self._flights:
            yield from flight.batch

    def launch(self, batch: list[Ticket], expected: float) -> None:
        """Run a batch that should take `expected` seconds alone.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        count = len(self._threads)
        if count < self._most and count <= len(self._flights):
            try:
                self._threads.add()
            except RuntimeError:
                # With one less it only takes longer.
                if not count:
                    raise
        flight = _Flight(batch, expected, self._advance(self._clock()))
        self._flights.append(flight)
        self._threads.run(
            [ticket.request for ticket in batch],
            lambda: not all(ticket.over for ticket in batch),
            lambda run: self._landing(flight, run),
        )

    def busy_until(self) -> float:
        """The instant at which all of them should be over; 0 when there are none."""
        if not self._flights:
            return 0.0
        now = self._clock()
        done = self._advance(now)
        return now + sum([max(0.0, flight.expected - (done - flight.began)) for flight in self._flights])

    def stop(self, timeout: float) -> bool:
        """End the threads after what they run, waiting at most `timeout` seconds; True when they have ended."""
        self._threads.stop(timeout)
        return self._threads.stopped

    def _landing(self, flight: _Flight, run: Run | None) -> None:
        # A closed loop means that the process ends: nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._landed, flight, run)

    def _landed(self, flight: _Flight, run: Run | None) -> None:
        share = self._advance(self._clock()) - flight.began
        self._flights.remove(flight)
        # Handing it over and back took time, too.
        cost = min(share, run.finished - run.started) if run is not None else 0.0
        self._land(Landed(flight.batch, run, cost))

    def _advance(self, now: float) -> float:
        """The common progress: those that wait for a thread share in it, since the whole is what counts."""
        if self._flights:
            self._progress += (now - self._progress_at) / len(self._flights)
        else:
            self._progress = 0.0
        self._progress_at = now
        return self._progress
