"""The gRPC port: connections on asyncio's transports, the clock's ticks, and the end."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import cast

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.protocol.grpc.assembly import Budget
from haldane_runtime.protocol.grpc.call import GrpcCall, Method, Shared
from haldane_runtime.protocol.grpc.connection import Connection
from haldane_runtime.protocol.grpc.frames import ErrorCode, StreamFault
from haldane_runtime.protocol.grpc.headers import Received, metadata_value
from haldane_runtime.protocol.grpc.health import health_methods
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.plain import PlainAnswer
from haldane_runtime.protocol.grpc.reflection import reflection_methods
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.service import inference_methods
from haldane_runtime.protocol.grpc.status import Status, Unserved
from haldane_runtime.protocol.grpc.stream import Call, Stream
from haldane_runtime.repository.repository import ModelRepository

log = logging.getLogger(__name__)

REVISION_METADATA = b"x-haldane-revision"
TICK_SECONDS = 0.5
# Above this a transport says that its client reads too slowly.
_HIGH_WATER = 1 << 20
# How many ticks a connection may take to send its last frames, and how many its client then has to close it.
_LAST_TICKS = 20
_LINGER_TICKS = 2


class GrpcServer:
    """Serves a data plane over gRPC on one listening socket."""

    def __init__(
        self,
        plane: DataPlane,
        repository: ModelRepository,
        limits: Limits,
        request_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        revision = plane.metrics.revision
        identity = ((REVISION_METADATA, metadata_value(revision)),) if revision else ()
        self._shared = Shared(limits, request_timeout, identity, clock, Budget(limits.assembling))
        self._methods = {
            **inference_methods(plane, repository, self._shared),
            **health_methods(plane),
            **reflection_methods(),
        }
        self._peers: set[_Peer] = set()
        self.stopping = False
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, listener: socket.socket, backlog: int) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self), sock=listener, backlog=backlog)
        self._ticking = loop.call_later(TICK_SECONDS, self._tick)

    def drain(self) -> None:
        """Send every client elsewhere for its next call. Connections that come later are served."""
        for peer in list(self._peers):
            peer.drain()

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, and give the calls in flight that long to end."""
        if self._server is None:
            return
        self._server.close()
        self.stopping = True
        for peer in list(self._peers):
            peer.stop()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d gRPC connections were cut off after %g s", len(self._peers), seconds)
        if self._ticking is not None:
            self._ticking.cancel()
        for peer in list(self._peers):
            peer.abort()

    def open(self, sender: Sender, stream: Stream, received: Received, now: float) -> Call:
        """A new call; see `stream.Application`."""
        head = received.head
        if not head.grpc and not head.too_long:
            return PlainAnswer(sender, stream, head)
        if self._shared.budget.calls >= self._limits.calls:
            raise StreamFault(stream.id, ErrorCode.REFUSED_STREAM, "too many calls of all clients together")
        method = _TOO_LONG if head.too_long else self._methods.get(head.path) or _Unknown(head.path)
        return GrpcCall(self._shared, method, sender, stream, received, now)

    def _tick(self) -> None:
        # First, so that nothing below ends the ticking.
        self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        now = self._clock()
        for peer in list(self._peers):
            peer.tick(now)

    def connection(self, wake: Callable[[], None]) -> Connection:
        return Connection(self, self._limits, self._clock(), wake)

    def now(self) -> float:
        return self._clock()

    def joined(self, peer: "_Peer") -> bool:
        """False when there are too many connections."""
        if len(self._peers) >= self._limits.connections:
            return False
        self._peers.add(peer)
        self._empty.clear()
        return True

    def left(self, peer: "_Peer") -> None:
        self._peers.discard(peer)
        if not self._peers:
            self._empty.set()


class _TooLong(Method):
    def open(self, call: GrpcCall) -> None:
        raise Unserved(Status.RESOURCE_EXHAUSTED, "the call's metadata is larger than is taken here; send less of it")


_TOO_LONG = _TooLong()


class _Unknown(Method):
    streaming = True

    def __init__(self, path: bytes) -> None:
        self._path = path.decode("latin-1")

    def open(self, call: GrpcCall) -> None:
        raise Unserved(Status.UNIMPLEMENTED, f"there is no method {self._path} here; reflection lists those there are")


class _Peer(asyncio.Protocol):
    """One client's transport and its connection. All output of a turn of the event loop leaves in one write."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._scheduled = False
        self._last_ticks = 0
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one without being derived from it.
        transport = self._transport = cast(asyncio.Transport, transport)
        if not self._server.joined(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(_HIGH_WATER)
        self._connection = self._server.connection(self._wake)
        if self._server.stopping:
            # Accepted just before the port was closed.
            self.stop()

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            fresh, self._scheduled = not self._scheduled, True
            self._connection.receive(data, self._server.now())
            # Behind the batcher's own turn, whose answers then leave in the same write.
            if fresh:
                self._loop.call_soon(self._flush)

    def connection_lost(self, _: Exception | None) -> None:
        if self._connection is not None:
            self._connection.lost()
        self._server.left(self)

    def pause_writing(self) -> None:
        # Who does not read our answers gets no more of them.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def tick(self, now: float) -> None:
        if self._connection is None or self._transport is None:
            return
        self._connection.tick(now)
        if self._connection.closing:
            self._last_ticks += 1
            sent = self._transport.get_write_buffer_size() == 0
            if self._last_ticks > (_LINGER_TICKS if sent else _LAST_TICKS):
                self._transport.abort()

    def drain(self) -> None:
        if self._connection is not None:
            self._connection.drain()

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.stop()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or transport.is_closing() or self._ended:
            return
        out, bulky = connection.take()
        if bulky:
            transport.writelines(out)
        elif out:
            transport.write(b"".join(out))
        if connection.closing:
            # Closing outright while the client still sends makes the kernel answer with a reset, which may overtake our
            # last frames: it is the client that closes, and what it sends until then is read and dropped.
            self._ended = True
            transport.write_eof()
