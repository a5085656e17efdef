"""A front: `python -m haldane_runtime.fronts.process`, started by the server and by nobody else."""

import asyncio
import gc
import itertools
import logging
import os
import signal
import socket
import sys
import time
from email.utils import formatdate
from typing import Any, cast

import uvloop
from uvicorn.protocols.http.flow_control import FlowControl

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.intake import Intake
from haldane_runtime.core.types import InferRequest, InferResponse
from haldane_runtime.fronts.handover import Handover
from haldane_runtime.fronts.wire import Frames, Offer, TensorNames, Turn, frame, unpack_error, unpack_model
from haldane_runtime.protocol.fast.protocol import HotProtocol, State
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.scheduling.ticket import Done

log = logging.getLogger(__name__)

# What the server has not answered yet; the server's own queue refuses long before.
_MOST_PENDING = 65536
# Bodies of the largest size that may be on their way to a front at once.
_MOST_REQUESTS_ARRIVING = 4
_REPORT_SECONDS = 0.1
_FLUSH_POLL_SECONDS = 0.005


class RemoteModel:
    """A model of the server's; see `ModelInstance`, whose part in the hot path this plays."""

    def __init__(self, number: int, packed: tuple[Any, ...], front: "Front") -> None:
        self.model = unpack_model(packed)
        self.metrics = self
        self.names = TensorNames(self.model.signature)
        self._number = number
        self._front = front

    def admit(self, nbytes: int, deadline: float) -> None:
        """Raises: RequestError: UNAVAILABLE, when far too much waits for the server."""
        if len(self._front.pending) >= _MOST_PENDING:
            raise RequestError(Code.UNAVAILABLE, "the queue is full; try again later", 1.0)

    # Nothing is counted here.
    foresee = admit

    def hold(self) -> None:
        """See `ModelInstance`: the server's end holds for its front what it has offered."""

    release = hold

    def submit(self, request: InferRequest, deadline: float, done: Done, admitted: bool = False) -> int:
        """See `Batcher.submit`; the ticket is a number."""
        front = self._front
        ticket = next(front.tickets)
        front.pending[ticket] = (self, request.outputs, done)
        front.turn().requests.append((ticket, self._number, deadline, self.names.pack_inputs(request), request.outputs))
        return ticket

    def cancel(self, ticket: int) -> None:
        """See `Batcher.cancel`."""
        if self._front.pending.pop(ticket, None) is not None:
            self._front.turn().withdrawn.append(ticket)

    def request(self, code: int, seconds: float) -> None:
        """See `ModelMetrics.request`: the server counts."""
        self._front.turn().counts.append((self._number, code, seconds))


class Front(asyncio.Protocol):
    """The front's end of the wire, and what its connections ask of the server."""

    # What the hot path looks at of a data plane.
    watch = None

    def __init__(self, keep_alive: float, request_bytes: int) -> None:
        self.intake = Intake(_MOST_REQUESTS_ARRIVING * request_bytes)
        self.generation = -1
        self.draining = False
        self.revision = ""
        self.keep_alive = keep_alive
        self.tickets = itertools.count()
        self.pending: dict[int, tuple[RemoteModel, tuple[str, ...], Done]] = {}
        self.connections: set[FrontConnection] = set()
        self.handover: Handover
        self.done = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._models: dict[int, RemoteModel] = {}
        self._places: dict[tuple[str | None, str | None], int] = {}
        self._turn: Turn | None = None
        self._back = itertools.count()
        self._reported = (time.monotonic(), time.thread_time())
        self._headers: list[tuple[bytes, bytes]] = []
        self._second = 0
        self._stopping = False

    def find(self, name: str | None, version: str | None) -> RemoteModel:
        """See `DataPlane.find`. Raises: RequestError: NOT_FOUND, for what the server must answer for."""
        number = self._places.get((name, version))
        if number is None:
            raise RequestError(Code.NOT_FOUND, "not served by this front")
        return self._models[number]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The date, in a new list every second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._headers = [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    def turn(self) -> Turn:
        """What is being gathered in this turn of the event loop."""
        if self._turn is None:
            self._turn = Turn([], [], [], None)
            self._loop.call_soon(self._send_turn)
        return self._turn

    def give_back(self, connection: "FrontConnection", data: bytes, since: float | None = None) -> None:
        """Hand a connection back to the server, with bytes that it has sent."""
        transport = connection.transport
        transport.pause_reading()
        now = self._loop.time()
        since = now if since is None else since
        if transport.is_closing():
            return
        if transport.get_write_buffer_size():
            # Answers must leave in order, the server writes the next one; a client that does not read gets none.
            if now - since > self.keep_alive:
                transport.abort()
            else:
                self._loop.call_later(_FLUSH_POLL_SECONDS, self.give_back, connection, data, since)
            return
        number = next(self._back)
        self._transport.write(frame(("back", number, data)))
        self.handover.send(number, transport.get_extra_info("socket").fileno(), lambda _: transport.close())

    # From the server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class does not say that it is one.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for kind, *content in self._frames.feed(data):
            if kind == "answers":
                self._answer(content[0])
            elif kind == "offer":
                self._take(Offer(*content[0]))
            elif kind == "stop":
                self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Without the server there is nothing left to do."""
        os._exit(0)

    def _take(self, offer: Offer) -> None:
        known = self._models
        self._models = {
            number: known.get(number) or RemoteModel(number, tuple(packed), self) for number, *packed in offer.models
        }
        self._places = offer.places
        self.draining, self.revision = offer.draining, offer.revision
        self.generation = offer.generation

    def _answer(self, answers: list[tuple[Any, ...]]) -> None:
        for answer in answers:
            asked = self.pending.pop(answer[0], None)
            if asked is None:
                continue
            model, outputs, done = asked
            error = unpack_error(answer)
            if error is not None:
                done(error)
                continue
            _, tensors, queued, inferred = answer
            arrays = model.names.unpack_outputs(outputs, tensors)
            done(InferResponse(model.model, arrays, queued, inferred))

    def _send_turn(self) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        now, used = time.monotonic(), time.thread_time()
        since, before = self._reported
        busy = None
        if now - since >= _REPORT_SECONDS:
            busy = (used - before) / (now - since)
            self._reported = (now, used)
        self._transport.write(frame(("turn", tuple(turn._replace(busy=busy)))))

    def _stop(self) -> None:
        self.draining = self._stopping = True
        for connection in list(self.connections):
            connection.leave()
        self.check_done()

    def check_done(self) -> None:
        """End when told to and nobody is left."""
        if self._stopping and not self.connections and not self.done.done():
            self.done.set_result(None)


class FrontConnection(HotProtocol):
    """One connection that the server handed over."""

    def __init__(self, front: Front, route: HotRoute) -> None:
        self.loop = asyncio.get_running_loop()
        self.prepare(route)
        self._front = front

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """See `HotProtocol.default_headers`."""
        return self._front.default_headers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class does not say that it is one.
        self.transport = cast(asyncio.Transport, transport)
        self.flow = FlowControl(self.transport)
        self._front.connections.add(self)
        self._keep_alive = self.loop.call_later(self._front.keep_alive, self._idle)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._keep_alive.cancel()
        self.flow.resume_writing()
        self._front.connections.discard(self)
        self._front.check_done()

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self.writable()

    def to_general(self, data: bytes, watched: bool | None = None) -> None:
        """Only the server can answer this."""
        self._front.give_back(self, data)

    def leave(self) -> None:
        """Close after the answer that is due, or now."""
        if self._request is not None:
            self._closing = True
        elif self._state is State.IDLE:
            self.transport.close()

    def _idle(self) -> None:
        idle = self._route.clock() - self._last_used if self._state is State.IDLE else 0.0
        if idle >= self._front.keep_alive:
            self.close_for_good()
        if not self.transport.is_closing():
            self._keep_alive = self.loop.call_later(max(0.0, self._front.keep_alive - idle), self._idle)


async def serve(wire: int, handover: int, request_bytes: int, request_timeout: float, keep_alive: float) -> None:
    """Until the server says stop; `wire` and `handover` are open descriptors of two socket pairs."""
    loop = asyncio.get_running_loop()
    front = Front(keep_alive, request_bytes)
    route = HotRoute(front, request_bytes, request_timeout)

    async def adopt(connection: socket.socket) -> None:
        await loop.connect_accepted_socket(lambda: FrontConnection(front, route), connection)

    adopting: set[asyncio.Task[None]] = set()

    def received(_: int, connection: socket.socket) -> None:
        task = loop.create_task(adopt(connection))
        adopting.add(task)
        task.add_done_callback(adopting.discard)

    front.handover = Handover(socket.socket(fileno=handover), received)
    await loop.connect_accepted_socket(lambda: front, socket.socket(fileno=wire))
    gc.freeze()
    await front.done


def main() -> None:
    """Arguments: two descriptors, the largest body in bytes, the longest request and idle time in seconds."""
    # The server decides when a front ends; a signal to the whole group is the server's to obey.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wire, handover, request_bytes, request_timeout, keep_alive = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(wire), int(handover), int(request_bytes), float(request_timeout), float(keep_alive)))


if __name__ == "__main__":
    main()
