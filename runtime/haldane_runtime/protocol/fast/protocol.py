"""The hot part of a connection: plain inference requests are read, submitted and answered here.

What a connection is doing is one of five states, and bytes go where the state says:

    IDLE      between requests: a plain one starts a hot request, any other is for somebody else
    BODY      the head of a hot request was read, its body is still arriving
    WAITING   a hot request is with the engine; what a client sends ahead is kept for later
    GENERAL   somebody else is at work on a request, and keeps the connection until it is answered
    ENDING    its last answer is out; what still comes is thrown away
"""

import asyncio
import logging
from abc import abstractmethod
from enum import Enum, auto

import orjson
from uvicorn.protocols.http.flow_control import FlowControl

from haldane_runtime.core.errors import HTTP_STATUS, Code, RequestError
from haldane_runtime.protocol.fast.head import ignoring_upgrade, looks_like_http
from haldane_runtime.protocol.fast.request import HotRequest
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.frame import CLIENT_CLOSED_REQUEST
from haldane_runtime.protocol.headers import id_value, retry_after
from haldane_runtime.scheduling.ticket import Outcome

log = logging.getLogger(__name__)

JSON = b"content-type: application/json\r\n"
# A client may send its next requests ahead, up to this many bytes.
_AHEAD_BYTES = 65536
HEAD_BYTES = 65536
# How long and how much is read of what a refused client still sends: closing at once would reset the connection, and
# the reset may overtake the answer that says why (RFC 9112, 9.6).
ENDING_SECONDS = 5.0
ENDING_BYTES = 1 << 20


class State(Enum):
    """See the module."""

    IDLE = auto()
    BODY = auto()
    WAITING = auto()
    GENERAL = auto()
    ENDING = auto()


# Looking a member up in its class takes ten times as long as a name of the module, some six times a request.
_IDLE, _BODY, _WAITING, _GENERAL, _ENDING = State


class HotProtocol(asyncio.Protocol):
    """One HTTP/1.1 connection, but for the requests that are out of the ordinary."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop

    def prepare(self, route: HotRoute) -> None:
        """To be called by `__init__`, which the other base class has for itself."""
        self._route = route
        self._state = _IDLE
        # Bytes that nobody has looked at yet.
        self._ahead = b""
        self._last_used = route.clock()
        self._closing = False
        self._request: HotRequest | None = None
        self._watched: bool | None = None
        # Runs while a head is incomplete, and at the connection's end.
        self._head_timer: asyncio.TimerHandle | None = None
        self._thrown_away = 0

    @property
    @abstractmethod
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Header lines of every answer; the same list as long as nothing in it changes."""

    @abstractmethod
    def to_general(self, data: bytes, watched: bool | None = None) -> None:
        """Take these bytes, which begin or continue a request of the GENERAL state.

        `watched` says whether the request is one to be told of, when that was decided.
        """

    def answered(self) -> None:
        """One more request has been answered on this connection."""

    # From the transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, cut wherever the network cut them."""
        state = self._state
        if state is _IDLE and not self._ahead and not self.flow.write_paused:
            self._begin(data)
            if self._ahead or self.flow.read_paused:
                self._look_ahead()
        elif state is _GENERAL:
            self.to_general(data)
        elif state is _BODY:
            self._more(data)
        elif state is _ENDING:
            self._thrown_away += len(data)
            if self._thrown_away > ENDING_BYTES:
                self.transport.abort()
        else:
            self._ahead += data
            self._look_ahead()

    def writable(self) -> None:
        """The client reads again: go on with what it has sent ahead."""
        self._look_ahead()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: what it waited for is not run."""
        request, self._request = self._request, None
        self._stop_head_timer()
        if request is not None:
            if self._state is _BODY:
                self._give_back(request)
            request.forget()
            request.count(CLIENT_CLOSED_REQUEST, self._route.clock())
        super().connection_lost(exc)

    # The hot path

    def _look_ahead(self) -> None:
        """Go on with what has been sent ahead, as far as the client reads its answers; read no more than that."""
        while self._ahead and self._state is _IDLE and not self.flow.write_paused:
            data, self._ahead = self._ahead, b""
            if not self._begin(data):
                break
        if self.transport.is_closing() or self._state is _GENERAL or self._state is _ENDING:
            return
        if len(self._ahead) > _AHEAD_BYTES or (self._ahead and self.flow.write_paused):
            # Complete or not, it waits for the client to read and not for more of itself.
            self._stop_head_timer()
            self.flow.pause_reading()
        elif self.flow.read_paused:
            self.flow.resume_reading()

    def _begin(self, data: bytes) -> bool:
        """Begin a request; False when its head is not complete, and is kept until it is."""
        route = self._route
        started = route.clock()
        start, head = route.heads.read(data)
        if not start and looks_like_http(data):
            self._wait_for_head(data)
            return False
        if start > HEAD_BYTES:
            self._refuse_head()
            return False
        if self._head_timer is not None:
            self._stop_head_timer()
        hot = route.find(head) if head is not None and head.length <= route.request_bytes else None
        if head is None or hot is None or not head.is_light:
            self._state = _GENERAL
            self.to_general(ignoring_upgrade(data))
            return True
        if route.watch is not None:
            # The general path notes what is to be told; only the choice is made here, once for the request.
            self._watched = route.watch.wants()
            if self._watched:
                self._state = _GENERAL
                self.to_general(data, self._watched)
                return True
        timeout = route.request_timeout
        if head.timeout is not None and head.timeout < timeout:
            timeout = head.timeout
        request = self._request = HotRequest(hot, head, started, timeout, start)
        end = start + head.length
        if len(data) > end:
            self._ahead = data[end:]
            data = data[:end]
        if len(data) < end:
            self._wait_for_body(request, data, end)
            return True
        try:
            hot.instance.admit(head.length, request.deadline)
        except RequestError as error:
            self._refuse(request, error)
        else:
            self._run(request, data, admitted=True)
        return True

    def _wait_for_body(self, request: HotRequest, data: bytes, end: int) -> None:
        try:
            request.hot.instance.foresee(request.head.length, request.deadline)
            self._take_in(request, data)
        except RequestError:
            # The rest of its body is still to be read and thrown away, which the general path knows how to do.
            self._give_up(data)
            return
        request.hot.instance.hold()
        self._state = _BODY
        request.missing = end - len(data)
        request.timer = self.loop.call_later(request.timeout, self._body_late)

    def _wait_for_head(self, data: bytes) -> None:
        if len(data) > HEAD_BYTES:
            self._refuse_head()
            return
        self._ahead = data
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._route.request_timeout, self._head_late)

    def _refuse_head(self) -> None:
        self.reject(431, f"the request's headers may have at most {HEAD_BYTES} bytes")

    def _head_late(self) -> None:
        self.reject(408, "the request's headers did not arrive in time")

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def reject(self, status: int, message: str) -> None:
        """Answer what is not a request that anybody could count, and end the connection."""
        self._stop_head_timer()
        self._ahead = b""
        if self.transport.is_closing():
            return
        body = orjson.dumps({"error": message})
        opening = self._route.opening(status, JSON, self.default_headers)
        self.transport.write(b"%b%d\r\nconnection: close\r\n\r\n%b" % (opening, len(body), body))
        self.transport.write_eof()
        self._state = _ENDING
        self._head_timer = self.loop.call_later(ENDING_SECONDS, self.transport.abort)
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _more(self, data: bytes) -> None:
        request = self._request
        assert request is not None
        if len(data) > request.missing:
            self._ahead = data[request.missing :]
            data = data[: request.missing]
        try:
            self._take_in(request, data)
        except RequestError as error:
            self._give_back(request)
            # The rest is not worth reading: the connection ends with the answer.
            self._closing = True
            self._refuse(request, error)
            return
        request.missing -= len(data)
        if request.missing:
            return
        request.arrived = self._route.clock()
        self._give_back(request)
        self._state = _IDLE
        self._run(request, request.assembled(), admitted=False)
        self._look_ahead()

    def _take_in(self, request: HotRequest, data: bytes) -> None:
        """Raises: RequestError: UNAVAILABLE, when too many bodies are arriving."""
        self._route.intake.take(len(data))
        request.taken += len(data)
        request.chunks.append(data)

    def _give_back(self, request: HotRequest) -> None:
        """The body is complete, or nobody wants it any more."""
        request.hot.instance.release()
        self._route.intake.release(request.taken)
        request.taken = 0
        if request.timer is not None:
            request.timer.cancel()

    def close_for_good(self) -> None:
        """Close once everything is written, or now when that was tried before: a client that reads nothing keeps nothing."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()

    def _run(self, request: HotRequest, message: bytes, admitted: bool) -> None:
        try:
            plain = request.decode(message)
            if plain is None:
                self._give_up(message[request.padding :])
                return
            request.submit(plain, self._done, admitted)
        except RequestError as error:
            self._refuse(request, error)
            return
        self._state = _WAITING

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
        if self._ahead or self.flow.read_paused:
            self._look_ahead()

    def _refuse(self, request: HotRequest, error: RequestError) -> None:
        error = request.worded(error, self._route.request_timeout)
        headers = JSON + request.hot.signature_headers
        if error.retry_after is not None:
            headers += b"retry-after: %b\r\n" % retry_after(error).encode()
        own = b"\r\nx-request-id: " + id_value(request.id(self._route))
        self._write(request, HTTP_STATUS[error.code], headers, orjson.dumps({"error": error.message}), own)

    def _write(self, request: HotRequest, status: int, headers: bytes, body: bytes, own: bytes = b"") -> None:
        """`own` are header lines of this request alone, each after a line's end."""
        close = self._closing or self._route.plane.draining
        opening = self._route.opening(status, headers, self.default_headers)
        end = b"\r\nconnection: close\r\n\r\n" if close else b"\r\n\r\n"
        self.transport.write(b"%b%d%b%b%b" % (opening, len(body), own, end, body))
        self._request = None
        self._state = _IDLE
        self._last_used = now = self._route.clock()
        self._route.count(request, status, now, self.loop)
        self.answered()
        if close:
            self._ahead = b""
            self.transport.close()

    def _body_late(self) -> None:
        request = self._request
        assert request is not None
        # What follows on this connection is the rest of a body that nobody reads.
        self._closing = True
        self._give_back(request)
        self._refuse(
            request, RequestError(Code.BODY_TIMEOUT, "the request body did not arrive within the request's deadline")
        )

    def _give_up(self, message: bytes) -> None:
        self._request = None
        self._state = _GENERAL
        ahead, self._ahead = self._ahead, b""
        self.to_general(message + ahead if ahead else message, self._watched)
