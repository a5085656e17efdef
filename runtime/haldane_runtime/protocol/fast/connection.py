"""A connection that answers plain inference requests itself and leaves the rest to uvicorn.

What a connection is doing is one of four states, and bytes go where the state says:

    IDLE      between requests: a plain one starts a hot request, any other goes to uvicorn
    BODY      the head of a hot request was read, its body is still arriving
    WAITING   a hot request is with the engine; what a client sends ahead is kept for later
    GENERAL   uvicorn's parser is at work on a request, and keeps the connection until it is answered

uvicorn's protocol is the base class, so that both sides share the transport, the flow control and
the server's list of connections, by which it shuts down gracefully.
"""

import asyncio
import logging
from enum import Enum, auto
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from haldane_runtime.core.errors import HTTP_STATUS, Code, RequestError
from haldane_runtime.protocol.fast.head import ignoring_upgrade
from haldane_runtime.protocol.fast.request import HotRequest
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.frame import CLIENT_CLOSED_REQUEST, WATCHED
from haldane_runtime.protocol.http import retry_after
from haldane_runtime.scheduling.ticket import Outcome

log = logging.getLogger(__name__)

_JSON = b"content-type: application/json\r\n"
# A client may send its next requests ahead, up to this many bytes.
_AHEAD_BYTES = 65536


class State(Enum):
    """See the module."""

    IDLE = auto()
    BODY = auto()
    WAITING = auto()
    GENERAL = auto()


class HotConnection(HttpToolsProtocol):
    """One HTTP/1.1 connection."""

    def __init__(
        self,
        route: HotRoute,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._route = route
        self._state_of_app = app_state
        self._state = State.IDLE
        # Bytes that nobody has looked at yet.
        self._ahead = b""
        self._last_used = route.clock()
        self._closing = False
        self._request: HotRequest | None = None
        # Messages begun and ended by uvicorn's parser: between two of them the connection is free again.
        self._begun = self._ended = 0

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm_keep_alive(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, cut wherever the network cut them."""
        if self._state is State.GENERAL:
            self._to_general(data)
            return
        if self._state is State.BODY:
            self._more(data)
            return
        if self._state is State.IDLE and not self._ahead:
            self._begin(data)
        else:
            self._ahead += data
        if self._ahead:
            self._pump()
        if len(self._ahead) > _AHEAD_BYTES:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: what it waited for is not run."""
        request, self._request = self._request, None
        if request is not None:
            request.forget()
            request.count(CLIENT_CLOSED_REQUEST, self._route.clock())
        super().connection_lost(exc)

    # The hot path

    def _pump(self) -> None:
        while self._ahead and self._state is State.IDLE:
            data, self._ahead = self._ahead, b""
            self._begin(data)

    def _begin(self, data: bytes) -> None:
        route = self._route
        started = route.clock()
        start, head = route.heads.read(data)
        hot = route.find(head) if head is not None and head.length <= route.request_bytes else None
        if head is None or hot is None:
            self.app_state = self._state_of_app
            self._to_general(ignoring_upgrade(data))
            return
        if route.watch is not None:
            # The general path notes what is to be told; only the choice is made here, once for the request.
            watched = route.watch.wants()
            self.app_state = self._state_of_app | {WATCHED: watched}
            if watched:
                self._to_general(data)
                return
        timeout = route.request_timeout
        if head.timeout is not None and head.timeout < timeout:
            timeout = head.timeout
        request = self._request = HotRequest(hot, head, started, timeout, start)
        end = start + head.length
        if len(data) > end:
            self._ahead = data[end:]
            data = data[:end]
        try:
            hot.instance.admit(head.length, request.deadline)
        except RequestError as error:
            if len(data) < end:
                # Its body is still to be read and thrown away, which uvicorn knows how to do.
                self._give_up(data)
            else:
                self._refuse(request, error)
            return
        if len(data) == end:
            self._run(request, data, admitted=True)
        else:
            self._state = State.BODY
            request.chunks.append(data)
            request.missing = end - len(data)
            request.timer = self.loop.call_later(timeout, self._body_late)

    def _more(self, data: bytes) -> None:
        request = self._request
        assert request is not None
        if len(data) > request.missing:
            self._ahead = data[request.missing :]
            data = data[: request.missing]
        request.chunks.append(data)
        request.missing -= len(data)
        if request.missing:
            return
        assert request.timer is not None
        request.timer.cancel()
        self._state = State.IDLE
        self._run(request, b"".join(request.chunks), admitted=False)
        self._pump()

    def _run(self, request: HotRequest, message: bytes, admitted: bool) -> None:
        try:
            plain = request.decode(message)
            if plain is None:
                self._give_up(message)
                return
            request.submit(plain, self._done, admitted)
        except RequestError as error:
            self._refuse(request, error)
            return
        self._state = State.WAITING

    def _done(self, outcome: Outcome) -> None:
        request = self._request
        assert request is not None
        if isinstance(outcome, RequestError):
            self._refuse(request, outcome)
        else:
            try:
                headers, body = request.encode(outcome, self._route)
            except Exception as error:
                log.exception("an answer could not be encoded")
                self._refuse(request, RequestError(Code.MODEL_FAILED, f"internal error: {type(error).__name__}"))
            else:
                self._write(request, 200, headers, body)
        if self._ahead:
            self._pump()

    def _refuse(self, request: HotRequest, error: RequestError) -> None:
        error = request.worded(error, self._route.request_timeout)
        headers = _JSON + request.hot.signature_headers
        if error.retry_after is not None:
            headers += b"retry-after: %b\r\n" % retry_after(error).encode()
        self._write(request, HTTP_STATUS[error.code], headers, orjson.dumps({"error": error.message}))

    def _write(self, request: HotRequest, status: int, headers: bytes, body: bytes) -> None:
        close = self._closing or self._route.draining
        opening = self._route.opening(status, headers, self.server_state.default_headers)
        end = b"\r\nconnection: close\r\n\r\n" if close else b"\r\n\r\n"
        self.transport.write(b"%b%d%b%b" % (opening, len(body), end, body))
        self._request = None
        self._state = State.IDLE
        self._last_used = now = self._route.clock()
        request.count(status, now)
        self.server_state.total_requests += 1
        if close:
            self._ahead = b""
            self.transport.close()
        elif self.flow.read_paused:
            self.flow.resume_reading()

    def _body_late(self) -> None:
        request = self._request
        assert request is not None
        # What follows on this connection is the rest of a body that nobody reads.
        self._closing = True
        self._refuse(
            request, RequestError(Code.BODY_TIMEOUT, "the request body did not arrive within the request's deadline")
        )

    # uvicorn's side

    def _give_up(self, message: bytes) -> None:
        self._request = None
        ahead, self._ahead = self._ahead, b""
        self._to_general(message + ahead if ahead else message)

    def _to_general(self, data: bytes) -> None:
        self._state = State.GENERAL
        super().data_received(data)
        self._settle()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error of the same form as every other."""
        body = orjson.dumps({"error": "the request is not valid HTTP"})
        self.transport.write(
            b"%b%d\r\nconnection: close\r\n\r\n%b"
            % (self._route.opening(400, _JSON, self.server_state.default_headers), len(body), body)
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

    # The end of a connection

    def shutdown(self) -> None:
        """Close after the answer that is due, or now."""
        if self._request is not None:
            self._closing = True
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close when idle for long enough; one timer a connection, looked at late rather than set anew each time."""
        idle = self._route.clock() - self._last_used if self._state is State.IDLE else 0.0
        if idle >= self.timeout_keep_alive:
            super().timeout_keep_alive_handler()
        else:
            self._arm_keep_alive(self.timeout_keep_alive - idle)

    def _arm_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
