"""Batching while busy: what comes while the engine runs goes together in its next run.

There is no timer in the default path. Requests that arrive in one turn of the event loop are
handed over at its end, as many rows as fit in one run; while that run lasts the next ones gather.
Everything here belongs to the event loop's thread, so that nothing needs a lock.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import InferRequest, InferResponse, ServedModel
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.scheduling.cost import LearnedCost
from haldane_runtime.scheduling.executor import EngineThread, Run, run_engine
from haldane_runtime.scheduling.merge import MergeKey, sizer, split
from haldane_runtime.scheduling.policy import Backlog, Limits, refusal

log = logging.getLogger(__name__)

# A run expected to be shorter goes in the event loop's own thread: handing it over and back would
# take a good part of that time, and nobody else waits long enough to notice.
INLINE_SECONDS = 0.002

Outcome = InferResponse | RequestError
Done = Callable[[Outcome], None]


class Recorder(Protocol):
    """What a batcher tells about its runs."""

    def run(self, seconds: float, rows: int, requests: int, waited: float) -> None: ...

    def nonfinite(self) -> None: ...

    def refused(self) -> None: ...


class Ticket:
    """One request that waits or runs; `over` once its outcome was delivered or nobody wants it any more."""

    __slots__ = ("deadline", "done", "key", "nbytes", "over", "queued", "request", "rows")

    def __init__(
        self,
        request: InferRequest,
        deadline: float,
        done: Done,
        queued: float,
        rows: int,
        key: MergeKey | None,
        nbytes: int,
    ) -> None:
        self.request = request
        self.deadline = deadline
        self.done = done
        self.queued = queued
        self.rows = rows
        self.key = key
        self.nbytes = nbytes
        self.over = False


class Batcher:
    """The queue in front of one engine, and the engine's runs."""

    def __init__(
        self,
        model: ServedModel,
        engine: Engine,
        profile: BatchProfile,
        limits: Limits,
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._engine = engine
        self._limits = limits
        self._recorder = recorder
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._cost = LearnedCost(profile.seconds)
        self._max_rows = min(profile.max_rows, limits.max_rows) if profile.batchable else 1
        self._size = sizer(model.signature, self._max_rows > 1)
        self._lanes: dict[MergeKey | None, deque[Ticket]] = {}
        # Parts of a failed run, to be tried apart before anything else.
        self._apart: deque[list[Ticket]] = deque()
        self._running: list[Ticket] = []
        self._backlog = Backlog()
        self._turn_due = False
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_at = 0.0
        self._thread: EngineThread | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def queued(self) -> Backlog:
        """What waits, without what runs."""
        return self._backlog

    @property
    def alive(self) -> bool:
        """False when the engine's thread is gone, which nothing but a restart mends."""
        return self._thread is None or self._thread.alive

    @property
    def idle(self) -> bool:
        return not self._running and not self._backlog.requests and not self._apart

    def admit(self, nbytes: int, deadline: float) -> None:
        """Raises: RequestError: UNAVAILABLE, when a request of `nbytes` would be refused now."""
        if self._closed:
            raise RequestError(Code.UNAVAILABLE, "the model is being unloaded; try again later", retry_after=1.0)
        if not self.alive:
            raise RequestError(Code.UNAVAILABLE, "the engine thread has ended; the server must be restarted")
        error = refusal(self._limits, self._backlog, self._cost, nbytes, deadline, self._clock())
        if error is not None:
            self._recorder.refused()
            raise error

    def submit(self, request: InferRequest, deadline: float, done: Done, admitted: bool = False) -> Ticket:
        """Queue a request; `done` is called once, later, in the event loop's thread.

        `admitted` says that `admit` let it in during this same turn of the loop.

        Raises:
            RequestError: UNAVAILABLE, when there is no room.
        """
        nbytes = 0
        for array in request.inputs.values():
            nbytes += array.nbytes
        if not admitted:
            self.admit(nbytes, deadline)
        rows, key = self._size(request)
        ticket = Ticket(request, deadline, done, self._clock(), rows, key, nbytes)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(ticket)
        backlog = self._backlog
        backlog.requests += 1
        backlog.rows += rows
        backlog.bytes += nbytes
        if self._expiry is None or deadline < self._expiry_at:
            self._watch(deadline)
        if not self._turn_due and not self._running:
            self._turn_due = True
            self._loop.call_soon(self._turn)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request whose client left: it is not run unless it runs already, and `done` is not called."""
        if not ticket.over:
            ticket.over = True
            self._withdraw(ticket)

    def close(self, timeout: float) -> None:
        """Refuse what waits, stop the engine's thread, waiting at most `timeout` seconds for it, and close the engine."""
        self._closed = True
        for ticket in list(self._unfinished()):
            self._deliver(ticket, RequestError(Code.UNAVAILABLE, "the server is stopping; try again later", 1.0))
        self._lanes.clear()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._thread is not None:
            self._thread.stop(timeout)
            if self._thread.alive:
                return
        self._engine.close()

    async def finish(self) -> None:
        """Admit nothing more, and wait until what waits and runs has its outcome."""
        self._closed = True
        if not self.idle:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _turn(self) -> None:
        """Hand the next batch to the engine, which is free."""
        self._turn_due = False
        now = self._clock()
        if self._gathers(now):
            return
        batch = self._next(now)
        if not batch:
            self._tell_when_idle()
            return
        self._running = batch
        rows = sum([ticket.rows for ticket in batch])
        expected = self._cost.predict(rows)
        self._backlog.busy_until = now + expected
        requests = [ticket.request for ticket in batch]
        if 0.0 < expected <= INLINE_SECONDS:
            self._finish(run_engine(self._engine, requests, self._clock))
            return
        if self._thread is None:
            self._thread = EngineThread(self._engine, self._clock)
        self._thread.run(requests, self._finish_from_thread)

    def _finish_from_thread(self, run: Run) -> None:
        # A closed loop means that the process ends: nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, run)

    def _gathers(self, now: float) -> bool:
        """True while a batch that is not full waits for company; only with `max_delay`."""
        if not self._limits.max_delay or not self._lanes or self._max_rows == 1 or self._apart:
            return False
        oldest = min(lane[0].queued for lane in self._lanes.values())
        wait = oldest + self._limits.max_delay - now
        if wait <= 0 or self._backlog.rows >= self._max_rows:
            return False
        self._turn_due = True
        self._loop.call_later(wait, self._turn)
        return True

    def _next(self, now: float) -> list[Ticket]:
        """The oldest waiting request and those that may share its run, in order."""
        while self._apart:
            batch = [ticket for ticket in self._apart.popleft() if not ticket.over]
            if batch:
                return batch
        while self._lanes:
            key = next(iter(self._lanes))
            if len(self._lanes) > 1:
                key = min(self._lanes, key=lambda other: self._lanes[other][0].queued)
            batch = self._take(self._lanes[key], key, now)
            if not self._lanes[key]:
                del self._lanes[key]
            if batch:
                return batch
        return []

    def _take(self, lane: deque[Ticket], key: MergeKey | None, now: float) -> list[Ticket]:
        batch: list[Ticket] = []
        room = self._max_rows
        while lane:
            ticket = lane[0]
            if batch and (key is None or ticket.rows > room):
                break
            lane.popleft()
            self._left(ticket)
            if ticket.deadline <= now:
                self._deliver(ticket, self._late())
                continue
            room -= ticket.rows
            batch.append(ticket)
        return batch

    def _withdraw(self, ticket: Ticket) -> None:
        """Free the place and the memory of a request that waits; one that runs keeps its batch until the end."""
        lane = self._lanes.get(ticket.key)
        if lane is None or ticket not in lane:
            return
        lane.remove(ticket)
        self._left(ticket)
        if not lane:
            del self._lanes[ticket.key]
        self._tell_when_idle()

    def _left(self, ticket: Ticket) -> None:
        backlog = self._backlog
        backlog.requests -= 1
        backlog.rows -= ticket.rows
        backlog.bytes -= ticket.nbytes

    def _finish(self, run: Run) -> None:
        batch, self._running = self._running, []
        self._backlog.busy_until = 0.0
        rows = sum([ticket.rows for ticket in batch])
        seconds = run.finished - run.started
        waited = run.started * len(batch) - sum([ticket.queued for ticket in batch])
        self._recorder.run(seconds, rows, len(batch), waited)
        if run.outputs is None:
            self._failed(batch, run.error)
        else:
            self._cost.observe(rows, seconds)
            self._answer(batch, run, seconds)
        if (self._lanes or self._apart) and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)
        self._tell_when_idle()

    def _tell_when_idle(self) -> None:
        if self._emptied is not None and self.idle and not self._emptied.done():
            self._emptied.set_result(None)

    def _answer(self, batch: list[Ticket], run: Run, seconds: float) -> None:
        outputs = run.outputs
        assert outputs is not None
        if not run.finite:
            self._recorder.nonfinite()
        shares = [outputs] if len(batch) == 1 else split(outputs, [ticket.rows for ticket in batch])
        if shares is None:
            log.error("outputs of a merged run do not have its rows; requests are run one by one from now on")
            self._max_rows = 1
            self._apart.extend([ticket] for ticket in batch)
            return
        model, started = self._model, run.started
        for ticket, share in zip(batch, shares, strict=True):
            if not ticket.over:
                self._deliver(ticket, InferResponse(model, share, started - ticket.queued, seconds))

    def _failed(self, batch: list[Ticket], error: BaseException | None) -> None:
        """One bad request must not fail its neighbours: a failed batch is halved until the bad one is alone."""
        batch = [ticket for ticket in batch if not ticket.over]
        if len(batch) > 1:
            middle = len(batch) // 2
            self._apart.extend((batch[:middle], batch[middle:]))
        elif batch:
            self._deliver(batch[0], _failure(error))

    def _deliver(self, ticket: Ticket, outcome: Outcome) -> None:
        if ticket.over:
            return
        ticket.over = True
        try:
            ticket.done(outcome)
        except Exception:
            # A fault in one answer's way out must not cost the others theirs.
            log.exception("an outcome could not be delivered")

    def _late(self) -> RequestError:
        return RequestError(
            Code.DEADLINE_EXCEEDED, f"model '{self._model.name}' did not answer within the request's deadline"
        )

    def _unfinished(self) -> Iterator[Ticket]:
        for batch in (*self._lanes.values(), *self._apart, self._running):
            for ticket in batch:
                if not ticket.over:
                    yield ticket

    def _watch(self, deadline: float) -> None:
        """See to the deadlines at `deadline`: one timer for all, set to the earliest."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry_at = deadline
        self._expiry = self._loop.call_later(max(0.0, deadline - self._clock()), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = self._clock()
        for ticket in [ticket for ticket in self._unfinished() if ticket.deadline <= now]:
            self._withdraw(ticket)
            self._deliver(ticket, self._late())
        earliest = min((ticket.deadline for ticket in self._unfinished()), default=None)
        if earliest is not None:
            self._watch(earliest)


def _failure(error: BaseException | None) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return RequestError(Code.MODEL_FAILED, f"the engine failed: {type(error).__name__}: {error}")
