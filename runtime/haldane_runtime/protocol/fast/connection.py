"""A connection that answers plain inference requests itself and leaves the rest to uvicorn.

uvicorn's protocol is the second base class, so that both sides share the transport, the flow control
and the server's list of connections, by which it shuts down gracefully.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from haldane_runtime.protocol.fast.protocol import HEAD_BYTES, HotProtocol, State
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.frame import WATCHED


class HotConnection(HotProtocol, HttpToolsProtocol):
    """One HTTP/1.1 connection of the server."""

    def __init__(
        self,
        route: HotRoute,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        HttpToolsProtocol.__init__(self, config, server_state, app_state, _loop)
        self.prepare(route)
        self._state_of_app = app_state
        # Messages begun and ended by uvicorn's parser: between two of them the connection is free again.
        self._begun = self._ended = 0
        # Nothing more is read once what follows may not be what the other side means.
        self._last = False
        self._in_head = False
        self._head_bytes = 0
        self._first = b""
        self._leave: Callable[[HotConnection], None] | None = None
        # Of a body whose request has been answered already.
        self._rest_timer: asyncio.TimerHandle | None = None
        self._rest_bytes = 0

    def resume(self, data: bytes) -> None:
        """Begin with `data`, which was read from this connection elsewhere. To be called before it is made."""
        self._first = data
        # It would only come back again.
        self._begun = self._ended = 1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_when_idle)
        if self._first:
            self.data_received(self._first)
            self._first = b""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """uvicorn's own, the date above all; it makes a new list every second."""
        return self.server_state.default_headers

    def answered(self) -> None:
        """See `HotProtocol.answered`."""
        self.server_state.total_requests += 1
        if self._leave is not None:
            # Once the answer has left, too.
            self.loop.call_soon(self._try_to_leave)

    def resume_writing(self) -> None:
        """The client has read what it was sent."""
        super().resume_writing()
        self.writable()

    def to_general(self, data: bytes, watched: bool | None = None) -> None:
        """See `HotProtocol.to_general`."""
        if self._last:
            return
        self.app_state = self._state_of_app if watched is None else self._state_of_app | {WATCHED: watched}
        self._last_used = self._route.clock()
        began = self._begun if self._in_head else None
        HttpToolsProtocol.data_received(self, data)
        # Bytes before a head that only begins in them are those of other requests.
        self._head_bytes = self._head_bytes + len(data) if self._in_head and self._begun == began else 0
        if self._head_bytes > HEAD_BYTES and not self._last and not self.transport.is_closing():
            self.send_400_response("the request's headers are too long")
        if self._rest_timer is not None:
            self._rest_bytes += len(data)
            if self._rest_bytes > self._route.request_bytes:
                self.close_for_good()
        self._settle()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error of the same form as every other, unless another answer is due before it."""
        self._last = True
        cycle = self.cycle
        if self.pipeline or (cycle is not None and not cycle.response_complete and not cycle.more_body):
            cycle.keep_alive = False
        else:
            if cycle is not None and not cycle.response_complete:
                # Its body broke off here: for who reads it that is as if the client had left.
                cycle.disconnected = True
                cycle.message_event.set()
            self.reject(400, "the request is not valid HTTP")

    def on_message_begin(self) -> None:
        self._begun += 1
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser takes what follows for another protocol's, a proxy in front may not: nothing of it is read.
            self._last = True
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._ended += 1
        self._stop_rest_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self._begun != self._ended and not self._in_head:
            # Nobody wants the rest of this body: it may take as long and be as large as one that is wanted.
            self._rest_bytes = 0
            self._rest_timer = self.loop.call_later(self._route.request_timeout, self.close_for_good)
        self._settle()

    def _settle(self) -> None:
        """Take the connection back when uvicorn's parser is between two messages and all answers are out."""
        answered = self.cycle is None or self.cycle.response_complete
        if (
            self._state is State.GENERAL
            and self._begun
            and self._begun == self._ended
            and answered
            and not self.pipeline
        ):
            self._state = State.IDLE
            self._last_used = self._route.clock()

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    # To another process

    def movable(self, since: float) -> bool:
        """True when it has asked for plain predictions only, one of them after the instant `since`."""
        return not self._begun and self._last_used > since and self._leave is None

    def leave_by(self, leave: "Callable[[HotConnection], None]") -> None:
        """Hand the connection to somebody else between two requests, now or later; `leave` closes the transport."""
        self._leave = leave
        self._try_to_leave()

    def stay(self) -> None:
        """Nobody took it."""
        self._leave = None
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _try_to_leave(self) -> None:
        if self._leave is None or self._state is not State.IDLE or self._ahead or self.transport.is_closing():
            return
        if not self.transport.get_write_buffer_size():
            self.transport.pause_reading()
            leave, self._leave = self._leave, None
            leave(self)

    # The end of a connection

    def shutdown(self) -> None:
        """Close after the answer that is due, or now."""
        if self._request is not None:
            self._closing = True
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever ended it: uvicorn leaves the timer of a connection that broke, which would hold on to all of this."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._idle_timer.cancel()
        self._stop_rest_timer()

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's own timer, which knows of its own answers only; `_close_when_idle` looks at all."""

    def _close_when_idle(self) -> None:
        """Close when idle for long enough; one timer a connection, looked at late rather than set anew each time."""
        due = self._request is not None or (self.cycle is not None and not self.cycle.response_complete)
        idle = 0.0 if due else self._route.clock() - self._last_used
        if idle >= self.timeout_keep_alive:
            self.close_for_good()
            idle = 0.0
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive - idle, self._close_when_idle)
