"""A response cache in front of a model's queue: what was answered before is not run again."""

import asyncio
import time

from haldane_runtime.cache.key import key_of
from haldane_runtime.cache.responses import ResponseCache
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.holders import Holders
from haldane_runtime.core.types import InferRequest, InferResponse, ServedModel, tensor_bytes
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.ticket import Done, Outcome, Ticket


class LookupTicket(Ticket):
    """A request that is being looked up; `joined` is its place in the queue once it needs one."""

    __slots__ = ("joined", "task")

    def __init__(self, request: InferRequest, deadline: float, done: Done, queued: float) -> None:
        super().__init__(request, deadline, done, queued, 0, None, 0)
        self.joined: Ticket | None = None
        self.task: asyncio.Task[None] | None = None


class CachedQueue:
    """Looks an answer up before it asks the batcher, and keeps what the batcher says.

    For models that answer the same question the same way. Has a batcher's methods, and holds lookups to its
    bounds and requests to their deadlines: a cache that fails or has too much to do sends them to the engine at once.
    """

    def __init__(
        self, model: ServedModel, batcher: Batcher, cache: ResponseCache, holders: Holders | None = None
    ) -> None:
        """`holders` are who need the batcher to stay."""
        self._holders = holders or Holders()
        self._model = model
        self._batcher = batcher
        self._cache = cache
        self._loop = asyncio.get_running_loop()

    def submit(self, request: InferRequest, deadline: float, done: Done, admitted: bool = False) -> Ticket:
        """See `Batcher.submit`."""
        if not self._cache.takes():
            return self._batcher.submit(request, deadline, done, admitted)
        if not admitted:
            self._batcher.admit(tensor_bytes(request.inputs.values()), deadline)
        ticket = LookupTicket(request, deadline, done, self._loop.time())
        self._holders.hold()
        ticket.task = self._loop.create_task(self._look_up(ticket))
        ticket.task.add_done_callback(lambda _: self._holders.release())
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """See `Batcher.cancel`."""
        if not isinstance(ticket, LookupTicket):
            self._batcher.cancel(ticket)
            return
        ticket.over = True
        if ticket.joined is not None:
            self._batcher.cancel(ticket.joined)
        elif ticket.task is not None:
            ticket.task.cancel()

    async def _look_up(self, ticket: LookupTicket) -> None:
        key = key_of(self._model.digest, ticket.request, self._model.precision)
        outputs = await self._cache.get(key, ticket.deadline - time.monotonic())
        if ticket.over:
            return
        if outputs is not None:
            self._deliver(ticket, InferResponse(self._model, outputs, self._loop.time() - ticket.queued, 0.0))
            return
        if ticket.deadline <= time.monotonic():
            self._deliver(ticket, self._late())
            return

        def keep(outcome: Outcome) -> None:
            if isinstance(outcome, InferResponse):
                self._cache.put(key, outcome.outputs)
            self._deliver(ticket, outcome)

        try:
            ticket.joined = self._batcher.submit(ticket.request, ticket.deadline, keep)
        except RequestError as error:
            self._deliver(ticket, error)

    def _late(self) -> RequestError:
        return RequestError(
            Code.DEADLINE_EXCEEDED, f"model '{self._model.name}' was not asked within the request's deadline"
        )

    def _deliver(self, ticket: LookupTicket, outcome: Outcome) -> None:
        if not ticket.over:
            ticket.over = True
            ticket.done(outcome)
