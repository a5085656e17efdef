"""The server's end: starts the fronts, moves connections to them and answers what they ask."""

import asyncio
import itertools
import logging
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any, cast

from uvicorn import Server

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.fronts.balance import to_move
from haldane_runtime.fronts.handover import Handover
from haldane_runtime.fronts.wire import Frames, Offer, TensorNames, Turn, frame, offerable, pack_error, pack_model
from haldane_runtime.protocol.fast.connection import HotConnection
from haldane_runtime.scheduling.ticket import Outcome, Ticket

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
# A front that ends by itself is started again, later each time.
FIRST_RESTART_SECONDS = 0.5
LAST_RESTART_SECONDS = 30.0

Arguments = tuple[int, float, float]


class Fronts:
    """All fronts of a server. Belongs to the event loop's thread."""

    def __init__(self, number: int, plane: DataPlane, server: Server, arguments: Arguments) -> None:
        """`arguments` for each: the largest body in bytes, the longest request and idle time in seconds."""
        self._plane = plane
        self._server = server
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._adopting: set[asyncio.Task[Any]] = set()
        self._busy = (time.monotonic(), time.thread_time())
        self._ends: list[FrontEnd | None] = [None] * number
        self._restart = [FIRST_RESTART_SECONDS] * number
        plane.changed.append(self._offer)
        for index in range(number):
            self._start(index)
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)

    async def stop(self, seconds: float) -> None:
        """Let every front finish what is due; end those that take longer than `seconds`."""
        self._stopping = True
        self._looking.cancel()
        ends = [end for end in self._ends if end is not None]
        for end in ends:
            end.send(("stop",))
        if ends:
            await asyncio.wait([end.gone for end in ends], timeout=seconds)
        for end in ends:
            await asyncio.to_thread(end.end)

    def adopt(self, connection: socket.socket, data: bytes) -> None:
        """Serve a connection that a front gave back, beginning with the bytes that it has read."""
        config = self._server.config

        def protocol() -> asyncio.Protocol:
            made: HotConnection = config.http_protocol_class(  # type: ignore[call-arg, assignment]
                config=config, server_state=self._server.server_state, app_state=self._server.lifespan.state
            )
            made.resume(data)
            return made

        task = self._loop.create_task(self._loop.connect_accepted_socket(protocol, connection))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    def move(self, connection: HotConnection, end: "FrontEnd") -> None:
        """Hand a connection to a front as soon as it is between two requests."""
        connection.leave_by(end.take)

    @property
    def ends(self) -> list["FrontEnd"]:
        """The fronts that are up."""
        return [end for end in self._ends if end is not None and end.opened]

    def lost(self, index: int) -> None:
        """A front has ended: what it was asked is lost with it, and another takes its place."""
        self._ends[index] = None
        if self._stopping:
            return
        wait = self._restart[index]
        self._restart[index] = min(LAST_RESTART_SECONDS, wait * 2)
        log.error("front %d has ended by itself; another starts in %.1f s", index, wait)
        self._loop.call_later(wait, self._start, index)

    def _start(self, index: int) -> None:
        if not self._stopping:
            end = self._ends[index] = FrontEnd(self, index, self._plane, self._arguments)
            self._loop.create_task(end.open())

    def _offer(self) -> None:
        for end in self._ends:
            if end is not None:
                end.offer()

    def _look(self) -> None:
        """See whether connections should move, ten times a second."""
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        now, used = time.monotonic(), time.thread_time()
        since, before = self._busy
        self._busy = (now, used)
        ends = self.ends
        busy = min(1.0, (used - before) / (now - since))
        movable = [
            connection
            for connection in self._server.server_state.connections
            if isinstance(connection, HotConnection) and connection.movable(since)
        ]
        if self._plane.draining:
            movable = []
        moves = to_move(busy, [end.busy for end in ends], len(movable))
        leaving = iter(movable)
        for end, number in zip(ends, moves, strict=True):
            for connection in itertools.islice(leaving, number):
                self.move(connection, end)
            end.look()


class FrontEnd(asyncio.Protocol):
    """The server's end of the wire to one front."""

    def __init__(self, fronts: Fronts, index: int, plane: DataPlane, arguments: Arguments) -> None:
        self.busy = 0.0
        self.opened = False
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._fronts = fronts
        self._index = index
        self._plane = plane
        self._frames = Frames()
        self._numbers = itertools.count()
        self._models: dict[int, tuple[ModelInstance, TensorNames]] = {}
        self._tickets: dict[int, tuple[ModelInstance, Ticket]] = {}
        self._offered: dict[int, Any] = {}
        self._answers: list[tuple[Any, ...]] = []
        self._reported = 0.0
        # A connection and its bytes come by different ways, in either order.
        self._sockets: dict[int, socket.socket] = {}
        self._bytes: dict[int, bytes] = {}
        self._transport: asyncio.Transport | None = None
        self._wire, wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        handover, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._handover = Handover(handover, self._came_back)
        command = [sys.executable, "-m", "haldane_runtime.fronts.process", str(wire.fileno()), str(theirs.fileno())]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)], pass_fds=(wire.fileno(), theirs.fileno()), stdin=subprocess.DEVNULL
        )
        wire.close()
        theirs.close()

    async def open(self) -> None:
        """Begin to listen to the front."""
        await self._loop.connect_accepted_socket(lambda: self, self._wire)

    def send(self, message: tuple[Any, ...]) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))

    def offer(self) -> None:
        """Tell what may be served now."""
        plane = self._plane
        known = {id(instance): number for number, (instance, _) in self._models.items()}
        # One offer back, since requests made for it may be on their way.
        models: dict[int, tuple[ModelInstance, TensorNames]] = {}
        places: dict[tuple[str | None, str | None], int] = {}
        for instance in plane.instances if plane.watch is None else ():
            model = instance.model
            if not offerable(model.signature):
                continue
            number = known.get(id(instance), -1)
            if number < 0:
                number = next(self._numbers)
                self._models[number] = (instance, TensorNames(model.signature))
                # Requests for it may come until another offer has taken the place of the next one.
                instance.hold()
            models[number] = self._models[number]
            for place in ((model.name, model.version), (model.name, None), (None, None)):
                if _is_at(plane, place, instance):
                    places[place] = number
        packed = [(number, *pack_model(instance.model)) for number, (instance, _) in models.items()]
        offer = Offer(plane.generation, plane.draining, plane.revision, packed, places)
        self.send(("offer", tuple(offer)))
        self._forget(models)

    def take(self, connection: HotConnection) -> None:
        """Hand a connection to the front, or let it stay when there is none any more."""

        def sent(worked: bool) -> None:
            if worked:
                connection.transport.close()
            else:
                connection.stay()

        if not self.opened:
            connection.stay()
            return
        self._handover.send(0, connection.transport.get_extra_info("socket").fileno(), sent)

    def look(self) -> None:
        """A front that says nothing has nothing to do."""
        if self._loop.time() - self._reported > 5 * LOOK_SECONDS:
            self.busy = 0.0

    def end(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # From the front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class does not say that it is one.
        self._transport = cast(asyncio.Transport, transport)
        self.opened = True
        self.offer()

    def data_received(self, data: bytes) -> None:
        for kind, *content in self._frames.feed(data):
            if kind == "turn":
                self._turn(Turn(*content[0]))
            else:
                number, unread = content
                self._bytes[number] = unread
                self._adopt(number)

    def connection_lost(self, exc: Exception | None) -> None:
        self.opened = False
        for instance, ticket in self._tickets.values():
            instance.cancel(ticket)
        self._tickets.clear()
        for instance, _ in self._models.values():
            instance.release()
        self._models.clear()
        self._handover.close()
        for connection in self._sockets.values():
            connection.close()
        self.process.poll()
        if not self.gone.done():
            self.gone.set_result(None)
        self._fronts.lost(self._index)

    def _turn(self, turn: Turn) -> None:
        for request in turn.requests:
            self._submit(*request)
        for number in turn.withdrawn:
            instance, ticket = self._tickets.pop(number, (None, None))
            if instance is not None and ticket is not None:
                instance.cancel(ticket)
        for model, code, seconds in turn.counts:
            if model in self._models:
                self._models[model][0].metrics.request(code, seconds)
        if turn.busy is not None:
            self.busy = min(1.0, turn.busy)
            self._reported = self._loop.time()

    def _submit(
        self, number: int, model: int, deadline: float, tensors: list[tuple[Any, bytes]], outputs: tuple[str, ...]
    ) -> None:
        found = self._models.get(model)
        if found is None:
            self._say(pack_error(number, RequestError(Code.NOT_FOUND, "the model was unloaded just now")))
            return
        instance, names = found
        try:
            request = names.unpack_request(tensors, outputs)
            ticket = instance.submit(request, deadline, partial(self._done, number, names))
        except RequestError as error:
            self._say(pack_error(number, error))
        else:
            self._tickets[number] = (instance, ticket)

    def _done(self, number: int, names: TensorNames, outcome: Outcome) -> None:
        self._tickets.pop(number, None)
        if isinstance(outcome, RequestError):
            self._say(pack_error(number, outcome))
        else:
            self._say((number, names.pack_outputs(outcome.outputs), outcome.queue_seconds, outcome.infer_seconds))

    def _say(self, answer: tuple[Any, ...]) -> None:
        if not self._answers:
            self._loop.call_soon(self._send_answers)
        self._answers.append(answer)

    def _send_answers(self) -> None:
        answers, self._answers = self._answers, []
        self.send(("answers", answers))

    def _came_back(self, number: int, connection: socket.socket) -> None:
        self._sockets[number] = connection
        self._adopt(number)

    def _adopt(self, number: int) -> None:
        if number in self._sockets and number in self._bytes:
            self._fronts.adopt(self._sockets.pop(number), self._bytes.pop(number))

    def _forget(self, offered: dict[int, Any]) -> None:
        """Models of older offers, once nothing of them is under way."""
        used = {id(instance) for instance, _ in self._tickets.values()}
        previous, self._offered = self._offered, offered
        models = self._models
        self._models = {
            number: found
            for number, found in models.items()
            if number in offered or number in previous or id(found[0]) in used
        }
        for number in models.keys() - self._models.keys():
            models[number][0].release()


def _is_at(plane: DataPlane, place: tuple[str | None, str | None], instance: ModelInstance) -> bool:
    try:
        return plane.find(*place) is instance
    except RequestError:
        return False
