"""One request on the hot path, from its head to its answer."""

import asyncio
from typing import Any

from haldane_runtime.core.errors import RequestError, missed_deadline
from haldane_runtime.core.types import InferResponse
from haldane_runtime.protocol.fast.decode import Plain
from haldane_runtime.protocol.fast.head import Head
from haldane_runtime.protocol.fast.hot import HotModel
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.scheduling.ticket import Done

# Of the largest number, and of where Python begins the content of an object of bytes.
_ALIGNMENT = 16
_LARGE_BYTES = 65536


class HotRequest:
    """Times are in seconds, instants of the route's clock; `start` is where the body begins in the message."""

    __slots__ = (
        "arrived",
        "chunks",
        "deadline",
        "head",
        "hot",
        "missing",
        "padding",
        "plain",
        "start",
        "started",
        "taken",
        "ticket",
        "timeout",
        "timer",
    )

    def __init__(self, hot: HotModel, head: Head, started: float, timeout: float, start: int) -> None:
        self.hot = hot
        self.head = head
        self.started = started
        # When the last byte of the body had come.
        self.arrived = started
        self.timeout = timeout
        self.deadline = started + timeout
        self.start = start
        self.plain: Plain | None = None
        self.ticket: Any = None
        # Only for a body that comes in several pieces.
        self.chunks: list[bytes] = []
        self.missing = 0
        # Bytes before the message that are not the client's.
        self.padding = 0
        self.taken = 0
        self.timer: asyncio.TimerHandle | None = None

    def assembled(self) -> bytes:
        """The message that has come in pieces, behind as much padding as puts its first tensor where it need not be copied."""
        self.padding = -(self.start + (self.head.json_length or 0)) % _ALIGNMENT
        self.start += self.padding
        return b"".join((bytes(self.padding), *self.chunks))

    def decode(self, message: bytes) -> Plain | None:
        """What the message asks for; None when the general path must see it."""
        if self.head.json_length is not None and len(message) > _LARGE_BYTES:
            # Copying it would take longer than all else that is done for the request.
            return (
                None if self.head.predict else self.hot.decode(memoryview(message)[self.start :], self.head.json_length)
            )
        body = message[self.start :]
        if not self.head.predict:
            return self.hot.decode(body, self.head.json_length)
        if self.head.json_length is not None:
            return None
        try:
            return self.hot.decode_rows(body)
        except RequestError:
            # Worded by the general path, as all errors of a body are.
            return None

    def submit(self, plain: Plain, done: Done, admitted: bool) -> None:
        """Raises: RequestError: UNAVAILABLE, when the queue is full and the request not `admitted` just now."""
        self.plain = plain
        self.ticket = self.hot.instance.submit(plain.request, self.deadline, done, admitted)

    def encode(self, response: InferResponse, route: HotRoute) -> tuple[bytes, bytes]:
        """Header lines and body of the answer."""
        plain = self.plain
        assert plain is not None
        request_id = self.id(route)
        milliseconds = (route.clock() - self.started) * 1000
        if self.head.predict:
            return self.hot.answer_rows(response, request_id, milliseconds)
        return self.hot.answer(response, request_id, milliseconds, plain.binary)

    def id(self, route: HotRoute) -> str:
        """The client's, or one of our own, another each time."""
        return (self.plain is not None and self.plain.id) or self.head.request_id or route.new_id()

    def worded(self, error: RequestError, request_timeout: float) -> RequestError:
        """The error as this client should read it: neither its own short deadline nor its slow body is our fault."""
        body_seconds = self.arrived - self.started
        return missed_deadline(error, self.timeout, body_seconds, self.timeout < request_timeout)

    def forget(self) -> None:
        """Nobody waits for the answer any more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.ticket is not None:
            self.hot.instance.cancel(self.ticket)

    def count(self, status: int, now: float) -> None:
        """From the arrival of the whole request: how long a client takes to send it says nothing of the model."""
        self.hot.instance.metrics.request(status, now - self.arrived)
