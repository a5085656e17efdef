"""Batching while busy: what comes while the engine runs goes together in its next run.

There is no timer in the default path. Requests that arrive in one turn of the event loop are
handed over at its end, as many rows as fit in one run; while that run lasts the next ones gather.
A model that gains nothing by that, but by several runs at once, gets those.
Everything here belongs to the event loop's thread, so that nothing needs a lock.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Protocol

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import InferRequest, InferResponse, ServedModel, tensor_bytes
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.scheduling.cost import LearnedCost
from haldane_runtime.scheduling.deadlines import DeadlineTimer
from haldane_runtime.scheduling.executor import InlineBound, Run, looked_at, run_engine
from haldane_runtime.scheduling.flights import Flights, Landed
from haldane_runtime.scheduling.line import WaitingLine
from haldane_runtime.scheduling.merge import sizer, split
from haldane_runtime.scheduling.policy import Backlog, Limits, company_until, is_full, refusal
from haldane_runtime.scheduling.ticket import Done, Outcome, Ticket

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What a batcher tells about its runs."""

    def run(self, seconds: float, rows: int, requests: int, waited: float) -> None: ...

    def nonfinite(self) -> None: ...

    def refused(self) -> None: ...


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
        self._recorder = recorder
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._cost = LearnedCost(profile.seconds)
        self._inline = InlineBound(profile.fixed_cost)
        max_rows = min(profile.max_rows, limits.max_rows) if profile.batchable else 1
        self._limits = replace(limits, max_rows=max_rows)
        self._size = sizer(model.signature, max_rows > 1)
        self._line = WaitingLine()
        # Parts of a failed run, to be tried apart before anything else.
        self._apart: deque[list[Ticket]] = deque()
        self._flights = Flights(engine, max(1, profile.runs), self._finish, clock)
        # A turn is due also while a batch waits for company, until `_gathered_by`.
        self._turn_due = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered_by = 0.0
        self._deadlines = DeadlineTimer(self._expire, clock)
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def queued(self) -> Backlog:
        """What waits, without what runs."""
        return self._line.backlog

    @property
    def alive(self) -> bool:
        """False when the engine's thread is gone, which nothing but a restart mends."""
        return self._flights.alive

    @property
    def idle(self) -> bool:
        return not self._flights and not self._line and not self._apart

    def admit(self, nbytes: int, deadline: float) -> None:
        """Raises: RequestError: UNAVAILABLE or WOULD_BE_LATE, when a request of `nbytes` is refused now."""
        error = self._refusal(nbytes, deadline)
        if error is not None:
            self._recorder.refused()
            raise error

    def foresee(self, nbytes: int, deadline: float) -> None:
        """Raises what `admit` would raise, and counts nothing: for who asks again once more is known."""
        error = self._refusal(nbytes, deadline)
        if error is not None:
            raise error

    def submit(self, request: InferRequest, deadline: float, done: Done, admitted: bool = False) -> Ticket:
        """Queue a request; `done` is called once, later, in the event loop's thread.

        `admitted` says that `admit` let it in during this same turn of the loop.

        Raises:
            RequestError: UNAVAILABLE, when there is no room.
        """
        nbytes = tensor_bytes(request.inputs.values())
        if not admitted:
            self.admit(nbytes, deadline)
        rows, key = self._size(request)
        ticket = Ticket(request, deadline, done, self._clock(), rows, key, nbytes)
        self._line.add(ticket)
        if deadline < self._deadlines.at:
            self._deadlines.set(deadline)
        if not self._turn_due and not self._flights.full:
            self._turn_due = True
            self._loop.call_soon(self._turn)
        elif self._gathering is not None and (
            is_full(self._limits, self._line.backlog) or self._company_until(ticket) < self._gathered_by
        ):
            self._turn_now()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request whose client left: it is not run unless it runs already, and `done` is not called."""
        if not ticket.over:
            ticket.over = True
            # One that runs keeps its batch until the end.
            self._line.withdraw(ticket)
            self._tell_when_idle()

    def close(self, timeout: float) -> None:
        """Refuse what waits, stop the engine's thread, waiting at most `timeout` seconds for it, and close the engine."""
        self._closed = True
        for ticket in list(self._unfinished()):
            self._line.withdraw(ticket)
            self._deliver(ticket, RequestError(Code.UNAVAILABLE, "the server is stopping; try again later", 1.0))
        self._deadlines.cancel()
        if self._gathering is not None:
            self._gathering.cancel()
        if self._flights.stop(timeout):
            self._engine.close()

    async def finish(self) -> None:
        """Admit nothing more, and wait until what waits and runs has its outcome."""
        self._closed = True
        self._turn_now()
        if not self.idle:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _refusal(self, nbytes: int, deadline: float) -> RequestError | None:
        """Why the queue refuses. Raises: RequestError: UNAVAILABLE, when there is no queue any more."""
        if self._closed:
            raise RequestError(Code.UNAVAILABLE, "the model is being unloaded; try again later", retry_after=1.0)
        if not self._flights.alive:
            raise RequestError(Code.UNAVAILABLE, "the engine thread has ended; the server must be restarted")
        return refusal(self._limits, self._line.backlog, self._cost, nbytes, deadline, self._clock())

    def _turn(self) -> None:
        """Hand the next batch to the engine, if it is free."""
        self._turn_due = False
        self._gathering = None
        now = self._clock()
        if self._flights.full or self._gathers(now):
            return
        batch = self._next(now)
        if not batch:
            self._tell_when_idle()
            return
        expected = self._cost.predict(sum([ticket.rows for ticket in batch]))
        if not self._flights and self._inline.allows(expected, sum([ticket.nbytes for ticket in batch])):
            self._inline.begin(now)
            run = run_engine(self._engine, [ticket.request for ticket in batch], self._clock)
            self._inline.end(run.started, run.finished)
            self._finish(Landed(batch, run, run.finished - run.started))
            return
        try:
            self._flights.launch(batch, expected)
        except RuntimeError as error:
            # The system has no thread to give: the next batch may find one.
            self._finish(Landed(batch, Run(now, now, error=error), 0.0))
            return
        self._line.backlog.busy_until = self._flights.busy_until()
        if not self._flights.full:
            self._turn_if_needed()

    def _turn_if_needed(self) -> None:
        if (self._line or self._apart) and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _gathers(self, now: float) -> bool:
        """True while a batch that is not full waits for company; only with `max_delay`."""
        limits = self._limits
        if not limits.max_delay or not self._line or limits.max_rows == 1 or self._apart or self._closed:
            return False
        if is_full(limits, self._line.backlog):
            return False
        # Fewer than a batch: all of them are looked at.
        until = min(map(self._company_until, self._line))
        if until <= now:
            return False
        self._turn_due = True
        self._gathered_by = until
        self._gathering = self._loop.call_later(until - now, self._turn)
        return True

    def _company_until(self, ticket: Ticket) -> float:
        expected = self._cost.predict(self._line.backlog.rows)
        return company_until(self._limits, expected, ticket.queued, ticket.deadline)

    def _turn_now(self) -> None:
        """End the wait for company, if there is one."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
            self._loop.call_soon(self._turn)

    def _next(self, now: float) -> list[Ticket]:
        while self._apart:
            batch = [ticket for ticket in self._apart.popleft() if not ticket.over]
            if batch:
                return batch
        batch, late = self._line.take(self._limits.max_rows, self._limits.batch_bytes, now)
        for ticket in late:
            # Later, since whoever hears of it may hand in the next request at once.
            self._loop.call_soon(self._deliver, ticket, self._late())
        return batch

    def _finish(self, landed: Landed) -> None:
        self._line.backlog.busy_until = self._flights.busy_until()
        if landed.run is not None:
            # The answers leave at the end of this turn of the loop, and before all that only we want to know.
            self._loop.call_soon(self._learn, landed.batch, landed.run, landed.cost)
            if landed.run.outputs is None:
                self._failed(landed.batch, landed.run.error)
            else:
                self._answer(landed.batch, landed.run)
        self._turn_if_needed()
        self._tell_when_idle()

    def _learn(self, batch: list[Ticket], run: Run, cost: float) -> None:
        rows = sum([ticket.rows for ticket in batch])
        seconds = run.finished - run.started
        waited = run.started * len(batch) - sum([ticket.queued for ticket in batch])
        self._recorder.run(seconds, rows, len(batch), waited)
        if run.outputs is not None:
            self._cost.observe(rows, cost)
            self._inline.observe(seconds, sum([ticket.nbytes for ticket in batch]))
            if run.finite is None:
                run = looked_at(run)
            if run.finite is False:
                self._recorder.nonfinite()

    def _tell_when_idle(self) -> None:
        if self._emptied is not None and self.idle and not self._emptied.done():
            self._emptied.set_result(None)

    def _answer(self, batch: list[Ticket], run: Run) -> None:
        outputs = run.outputs
        assert outputs is not None
        shares = [outputs] if len(batch) == 1 else split(outputs, [ticket.rows for ticket in batch])
        if shares is None:
            log.error("outputs of a merged run do not have its rows; requests are run one by one from now on")
            self._limits = replace(self._limits, max_rows=1)
            self._apart.extend([ticket] for ticket in batch)
            return
        model, started, seconds = self._model, run.started, run.finished - run.started
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
        for ticket in chain(self._line, *self._apart, self._flights.tickets()):
            if not ticket.over:
                yield ticket

    def _expire(self) -> None:
        now = self._clock()
        for ticket in [ticket for ticket in self._unfinished() if ticket.deadline <= now]:
            self._line.withdraw(ticket)
            self._deliver(ticket, self._late())
        self._tell_when_idle()
        self._deadlines.set(min((ticket.deadline for ticket in self._unfinished()), default=math.inf))


def _failure(error: BaseException | None) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return RequestError(Code.MODEL_FAILED, f"the engine failed: {type(error).__name__}: {error}")
