"""A connection that answers plain inference requests itself and leaves the rest to uvicorn.

uvicorn's protocol is the second base class, so that both sides share the transport, the flow control
and the server's list of connections, by which it shuts down gracefully.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from haldane_runtime.protocol.fast.protocol import JSON, HotProtocol, State
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
        self._first = b""
        self._leave: Callable[[HotConnection], None] | None = None

    def resume(self, data: bytes) -> None:
        """Begin with `data`, which was read from this connection elsewhere. To be called before it is made."""
        self._first = data
        # It would only come back again.
        self._begun = self._ended = 1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm_keep_alive(self.timeout_keep_alive)
        if self._first:
            self.data_received(self._first)
            self._first = b""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """uvicorn's own, the date above all; it makes a new list every second."""
        return self.server_state.default_headers

    def answered(self, count: int) -> None:
        """See `HotProtocol.answered`."""
        self.server_state.total_requests += count
        if self._leave is not None:
            # Once the answer has left, too.
            self.loop.call_soon(self._try_to_leave)

    def to_general(self, data: bytes, watched: bool | None = None) -> None:
        """See `HotProtocol.to_general`."""
        self.app_state = self._state_of_app if watched is None else self._state_of_app | {WATCHED: watched}
        HttpToolsProtocol.data_received(self, data)
        self._settle()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error of the same form as every other."""
        body = orjson.dumps({"error": "the request is not valid HTTP"})
        self.transport.write(
            b"%b%d\r\nconnection: close\r\n\r\n%b"
            % (self._route.opening(400, JSON, self.default_headers), len(body), body)
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._ended += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
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

    # To another process

    def movable(self, since: float) -> bool:
        """True when it has asked for plain predictions only, one of them after the instant `since`."""
        return not self._begun and self._last_used > since and self._leave is None

    def leave_by(self, leave: "Callable[[HotConnection], None]") -> None:
        """Hand the connection to somebody else between two requests, now or later; `leave` closes the transport."""
        self._leave = leave
        self._try_to_leave()

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

    def timeout_keep_alive_handler(self) -> None:
        """Close when idle for long enough; one timer a connection, looked at late rather than set anew each time."""
        idle = self._route.clock() - self._last_used if self._state is State.IDLE else 0.0
        if idle >= self.timeout_keep_alive:
            super().timeout_keep_alive_handler()
        else:
            self._arm_keep_alive(self.timeout_keep_alive - idle)

    def _arm_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
