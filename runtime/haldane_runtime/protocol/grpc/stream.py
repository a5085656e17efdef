"""One HTTP/2 stream, which is one gRPC call."""

from collections import deque
from typing import Protocol


class Call(Protocol):
    """What a stream tells the call that it carries."""

    def receive(self, data: bytes, ended: bool) -> None:
        """Bytes of the request's body, without padding; `ended` with the last of them, which may be none."""
        ...

    def gone(self) -> None:
        """Nobody waits for an answer any more."""
        ...

    def tick(self, now: float) -> None:
        """Called about twice a second while the stream is open; `now` is an instant of `time.monotonic`."""
        ...


class Stream:
    """State that both directions share. Windows are in bytes and may be negative after a change of settings."""

    __slots__ = (
        "blocked_since",
        "body_bytes",
        "call",
        "declared",
        "id",
        "pending",
        "receive_window",
        "remote_closed",
        "send_window",
        "trailers",
    )

    call: Call

    def __init__(self, number: int, send_window: int, receive_window: int, declared: int | None, ended: bool) -> None:
        self.id = number
        self.send_window = send_window
        self.receive_window = receive_window
        self.declared = declared
        """The request's content-length, when it has one."""
        self.body_bytes = 0
        self.remote_closed = ended
        self.pending: deque[memoryview] | None = None
        """What the windows do not let out yet."""
        self.trailers: bytes | None = None
        """The block that follows `pending`, once the answer is complete."""
        self.blocked_since: float | None = None
