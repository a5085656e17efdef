"""One HTTP/2 stream, which is one gRPC call, and what it needs of whoever answers."""

from collections import deque
from typing import TYPE_CHECKING, Protocol

from haldane_runtime.protocol.grpc.hpack import HeaderBlock

if TYPE_CHECKING:
    from haldane_runtime.protocol.grpc.headers import Received
    from haldane_runtime.protocol.grpc.sending import Sender


class Call(Protocol):
    """What a stream tells the call that it carries."""

    def receive(self, data: bytes | memoryview, ended: bool) -> None:
        """Bytes of the request's body, without padding; `ended` with the last of them, which may be none."""
        ...

    def gone(self) -> None:
        """Nobody waits for an answer any more."""
        ...

    def tick(self, now: float) -> None:
        """Called about twice a second while the stream is open; `now` is an instant of `time.monotonic`."""
        ...

    def stop(self) -> None:
        """The server stops: a call that has no end of its own must end now."""
        ...


class _Nobody:
    """Stands for the call of a stream that is only being opened."""

    def receive(self, data: bytes | memoryview, ended: bool) -> None:
        """Nothing."""

    def gone(self) -> None:
        """Nothing."""

    def tick(self, now: float) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


_NOBODY = _Nobody()


class Stream:
    """State that both directions share. Windows are in bytes and may be negative after a change of settings."""

    __slots__ = (
        "blocked_since",
        "body_bytes",
        "call",
        "complete",
        "declared",
        "id",
        "opened",
        "pending",
        "receive_window",
        "remote_closed",
        "send_window",
        "trailers",
    )

    def __init__(
        self, number: int, send_window: int, receive_window: int, declared: int | None, ended: bool, opened: float
    ) -> None:
        self.id = number
        self.opened = opened
        """When its headers had come, on `time.monotonic`."""
        self.call: Call = _NOBODY
        self.send_window = send_window
        self.receive_window = receive_window
        self.declared = declared
        """The request's content-length, when it has one."""
        self.body_bytes = 0
        self.remote_closed = ended
        self.pending: deque[memoryview] | None = None
        """What the windows do not let out yet."""
        self.complete = False
        """Nothing follows `pending` but `trailers`, if there are any."""
        self.trailers: HeaderBlock | None = None
        self.blocked_since: float | None = None

    def leave(self) -> Call:
        """The call, which the stream forgets: the two would else keep each other, and a request's tensors, in memory."""
        call, self.call = self.call, _NOBODY
        return call


class Application(Protocol):
    """Whoever answers the calls of a connection."""

    def open(self, sender: "Sender", stream: Stream, received: "Received", now: float) -> Call:
        """A new call, which came at an instant of `time.monotonic`; it may be answered at once.

        Raises:
            StreamFault: REFUSED_STREAM, when there is no room for it.
        """
        ...
