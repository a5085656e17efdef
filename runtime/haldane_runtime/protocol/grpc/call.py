"""One gRPC call: messages out of a stream's bytes, and an answer of messages and a status."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from haldane_runtime.core.errors import HTTP_STATUS, Code, RequestError, invalid
from haldane_runtime.protocol.grpc import messages
from haldane_runtime.protocol.grpc.assembly import Assembly, Budget
from haldane_runtime.protocol.grpc.headers import IDENTITY, Received, answer_block, trailers_block
from haldane_runtime.protocol.grpc.hpack import Field, Fields
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.status import HTTP_OF, STATUS, Status, Unserved
from haldane_runtime.protocol.grpc.stream import Stream
from haldane_runtime.protocol.grpc.thread import in_thread
from haldane_runtime.protocol.headers import REQUEST_ID_HEADER, id_value

log = logging.getLogger(__name__)

# As proxies and the other transport log a client that left before its answer.
CLIENT_LEFT = 499
# As much of a long message as the model's name may lie in.
_FORESEEN_BYTES = 512

_OK = trailers_block(Status.OK)
_make_head = lru_cache(maxsize=256)(answer_block)


class Method:
    """What answers the calls of one path. What it raises, RequestError or Unserved, becomes the call's status."""

    streaming = False
    """Whether the client may send any number of messages; otherwise exactly one comes, after the client's end."""

    def open(self, call: "GrpcCall") -> None:
        """The call's headers have come."""

    def foresee(self, call: "GrpcCall", size: int, start: bytes) -> None:
        """A long message begins: its size in bytes and its first bytes. The time to refuse it before it is read."""

    def message(self, call: "GrpcCall", data: bytes | memoryview) -> None:
        """A message of the client's, which keeps its bytes as long as it is referred to."""
        raise NotImplementedError

    def ended(self, call: "GrpcCall") -> None:
        """The client of a streaming method sends no more."""

    def over(self, call: "GrpcCall", code: int, message: str) -> None:
        """The call was answered, or its client has left; `code` is the HTTP status that means the same.

        `message` says what went wrong, if something did.
        """


@dataclass(slots=True)
class Shared:
    """What all calls of a server have in common. Times in seconds, sizes in bytes."""

    limits: Limits
    timeout: float
    identity: Fields
    """Metadata that says who answers."""
    clock: Callable[[], float]
    budget: Budget


class GrpcCall:
    """Answered once: by `reply`, by `send` and `finish`, or by `fail`. After that, or after `gone`, answers are ignored."""

    __slots__ = (
        "_assembly",
        "_dispatched",
        "_head",
        "_method",
        "_sender",
        "_shared",
        "_stream",
        "arrived",
        "deadline",
        "ended",
        "identity",
        "impatient",
        "on_gone",
        "on_tick",
        "over",
        "received",
        "request_id",
        "started",
        "state",
        "told",
    )

    def __init__(
        self,
        shared: Shared,
        method: Method,
        sender: Sender,
        stream: Stream,
        received: Received,
        now: float,
    ) -> None:
        self._shared = shared
        self._method = method
        self._sender = sender
        self._stream = stream
        self._head = received.head
        self._assembly: Assembly | None = None
        self._dispatched = False
        self.received = received
        """The call's header fields."""
        self.started = now
        """When the call's headers had come, on `time.monotonic`."""
        self.arrived = now
        """When its last whole message had come; until there is one, when its headers had."""
        self.deadline = now + shared.timeout
        self.impatient = False
        """Whether the deadline is the client's own, earlier than the server's."""
        self.identity = shared.identity
        self.request_id = ""
        """What an error is to be known by; empty for a method whose calls have no id."""
        self.ended = False
        self.told = False
        self.over = False
        self.state: object = None
        """The method's own."""
        self.on_gone: Callable[[], None] | None = None
        self.on_tick: Callable[[float], None] | None = None
        shared.budget.calls += 1
        self._guarded(self._begin)

    def _begin(self) -> None:
        if self._head.encoding != IDENTITY:
            messages.require_known(self._head.encoding)
        if (timeout := self.received.timeout) is not None:
            self._obey(timeout)
        self._method.open(self)

    def _obey(self, timeout: float) -> None:
        if math.isnan(timeout):
            raise invalid("grpc-timeout must be up to 8 digits and one of H, M, S, m, u, n")
        if timeout < self._shared.timeout:
            self.deadline = self.started + timeout
            self.impatient = True

    def receive(self, data: bytes | memoryview, ended: bool) -> None:
        """Bytes of the request; see `stream.Call`."""
        if not self.over:
            self.ended = ended
            self._guarded(self._receive, data)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except RequestError as error:
            self.refuse(error)
        except Unserved as error:
            self.finish(error.status, error.message)
        except Exception as error:
            self.fail(error)

    def _receive(self, data: bytes | memoryview) -> None:
        if self.ended and self._assembly is None and not self._method.streaming:
            size = len(data) - messages.PREFIX_BYTES
            if size >= 0 and messages.declared_size(data) == size:
                messages.require_size(size, self._shared.limits.message)
                self._dispatch(data[0], data[messages.PREFIX_BYTES :])
                return
        if self._assembly is None:
            self._assembly = Assembly(self._shared.budget)
        self._assembly.add(data)
        self._take(self._assembly)

    def _take(self, assembly: Assembly) -> None:
        """The messages that are complete, and what may not be."""
        while (size := assembly.announced) is not None:
            missing = size + messages.PREFIX_BYTES - len(assembly)
            if not assembly.foreseen:
                assembly.foreseen = True
                messages.require_size(size, self._shared.limits.message)
                if missing > 0:
                    self._method.foresee(self, size, assembly.beginning(_FORESEEN_BYTES))
            if missing > 0:
                break
            if not self._method.streaming:
                if missing < 0:
                    raise invalid("this method takes one message, but more were sent")
                if not self.ended:
                    return
            self._dispatch(*assembly.take(size))
            if self.over:
                return
        if self.ended:
            self._require_message(assembly)

    def _require_message(self, assembly: Assembly) -> None:
        if len(assembly):
            raise invalid("the call ends within a message")
        if self._method.streaming:
            self._method.ended(self)
        elif not self._dispatched:
            raise invalid("this method takes one message, but none was sent")

    def _dispatch(self, compressed: int, payload: bytes | memoryview) -> None:
        self._dispatched = True
        self.arrived = self._shared.clock()
        if not compressed:
            self._method.message(self, payload)
            return
        # Messages of a stream stay in their order, for which none of them may go round by a thread.
        most = self._shared.limits.message
        if self._method.streaming:
            most = min(most, messages.THREAD_BYTES)
            messages.require_size(len(payload), most)
        inflation = messages.Inflation(compressed, payload, self._head.encoding, most)
        message = inflation.begin(messages.THREAD_BYTES) if len(payload) <= messages.THREAD_BYTES else None
        if message is not None:
            self._method.message(self, message)
        elif self._method.streaming:
            self._method.message(self, inflation.finish())
        else:
            in_thread(inflation.finish, partial(self._guarded, self._inflated))

    def _inflated(self, message: Callable[[], bytes | memoryview]) -> None:
        if not self.over:
            self._method.message(self, message())

    def tick(self, now: float) -> None:
        """See `stream.Call`."""
        if self.over:
            return
        if self.on_tick is not None:
            self.on_tick(now)
        elif not self._dispatched and now > self.deadline:
            self.refuse(self._not_sent())

    def _not_sent(self) -> RequestError:
        """A client that does not send its message says nothing about the model."""
        if self.impatient:
            seconds = self.deadline - self.started
            return RequestError(
                Code.CLIENT_DEADLINE_EXCEEDED, f"the request did not arrive within the {seconds:g} s that it allows"
            )
        return RequestError(Code.BODY_TIMEOUT, "the request did not arrive within its deadline")

    def stop(self) -> None:
        """See `stream.Call`."""
        if self.on_tick is not None or self._method.streaming:
            self.finish(Status.UNAVAILABLE, "the server is stopping; call again")

    def gone(self) -> None:
        """See `stream.Call`."""
        if not self.over:
            tell = self.on_gone
            self._close(CLIENT_LEFT, "the client left before its answer")
            if tell is not None:
                tell()

    def reply(self, *parts: bytes | memoryview) -> None:
        """The one message of a unary answer, in parts that follow each other, and status OK."""
        if self.over:
            return
        head = self._head
        encoding = head.encoding if head.encoding in head.accepts else IDENTITY
        if encoding != IDENTITY and sum(map(len, parts)) >= messages.THREAD_BYTES:
            in_thread(partial(messages.packed, parts, encoding), partial(self._guarded, self._compressed, encoding))
        else:
            self._respond(encoding, messages.packed(parts, encoding))

    def _compressed(self, encoding: str, message: Callable[[], bytes]) -> None:
        if not self.over:
            self._respond(encoding, message())

    def _respond(self, encoding: str, message: bytes) -> None:
        self._close(200, "")
        block = _make_head(encoding, messages.ACCEPTED, self.identity)
        self._sender.respond(self._stream, block, message, _OK)

    def send(self, message: bytes) -> None:
        """One of several messages of an answer."""
        if self.over:
            return
        if not self.told:
            self.told = True
            self._sender.headers(self._stream, _make_head(IDENTITY, messages.ACCEPTED, self.identity))
        self._sender.data(self._stream, messages.packed((message,), IDENTITY))

    def finish(
        self, status: Status = Status.OK, message: str = "", metadata: tuple[Field, ...] = (), code: int | None = None
    ) -> None:
        """The end of an answer; `code` is the HTTP status that it counts as, by default the status's own."""
        if self.over:
            return
        self._close(code or HTTP_OF[status], message)
        if self.request_id and status is not Status.OK:
            metadata = (*metadata, (REQUEST_ID_HEADER.encode(), id_value(self.request_id)))
        if self.told:
            self._sender.trailers(self._stream, trailers_block(status, message, metadata))
        else:
            block = trailers_block(status, message, (*metadata, *self.identity), only=True)
            self._sender.trailers(self._stream, block)

    def refuse(self, error: RequestError) -> None:
        """The status that the error means, and when to try again, if it says so."""
        metadata: tuple[Field, ...] = ()
        if STATUS[error.code] is Status.UNAVAILABLE and error.retry_after is not None:
            metadata = ((b"grpc-retry-pushback-ms", b"%d" % max(1, round(error.retry_after * 1000))),)
        self.finish(STATUS[error.code], error.message, metadata, HTTP_STATUS[error.code])

    def fail(self, error: Exception) -> None:
        """A fault of ours."""
        log.error("a gRPC call failed by a fault of the server", exc_info=error)
        self.finish(Status.INTERNAL, f"internal error: {type(error).__name__}")

    def _close(self, code: int, message: str) -> None:
        self.over = True
        self._shared.budget.calls -= 1
        # They refer to this call in turn, and what they hold would wait for the garbage collector.
        self.on_gone = self.on_tick = None
        if self._assembly is not None:
            self._assembly.drop()
        self._method.over(self, code, message)
