"""Requests at a rate that does not wait for answers, over as many connections as that takes.

Arrivals are a Poisson process (exponential gaps), as many independent clients make one. A latency
counts from the instant at which the request should have left, so that a stalled server cannot hide
what it did to those that would have come meanwhile (Gil Tene's "coordinated omission").
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 for a connection that broke; `seconds` from the due instant to the answer's last byte."""

    status: int
    seconds: float


class _Connection(asyncio.Protocol):
    """One request at a time; keeps open between them."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._done: Callable[[int], None] | None = None
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, done: Callable[[int], None]) -> None:
        assert self._transport is not None
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = b""
        if b"connection: close" in head:
            self.open = False
        self._finish(status)

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._finish(0)

    def _finish(self, status: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Load:
    """A client of 127.0.0.1:`port` that sends `request`, bytes of a whole HTTP/1.1 request with a kept connection."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._idle: list[_Connection] = []

    async def open_loop(self, rate: float, seconds: float, seed: int = 0) -> list[Answer]:
        """`rate` requests a second for so many seconds; returns once the last is answered."""
        loop = asyncio.get_running_loop()
        gaps = random.Random(seed)
        start = time.perf_counter()
        due = start
        tasks = []
        while (due := due + gaps.expovariate(rate)) < start + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(loop.create_task(self._one(due)))
        async with asyncio.timeout(GRACE_SECONDS):
            return list(await asyncio.gather(*tasks))

    async def closed_loop(self, clients: int, seconds: float) -> list[Answer]:
        """So many clients, each of which sends its next request when the last is answered."""
        end = time.perf_counter() + seconds
        answers: list[Answer] = []

        async def client() -> None:
            while (now := time.perf_counter()) < end:
                answers.append(await self._one(now))

        async with asyncio.timeout(seconds + GRACE_SECONDS):
            await asyncio.gather(*(client() for _ in range(clients)))
        return answers

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _one(self, due: float) -> Answer:
        loop = asyncio.get_running_loop()
        connection = None
        while self._idle and connection is None:
            kept = self._idle.pop()
            connection = kept if kept.open else None
        try:
            if connection is None:
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        except OSError:
            return Answer(0, time.perf_counter() - due)
        status: asyncio.Future[int] = loop.create_future()
        connection.send(self._request, status.set_result)
        answer = Answer(await status, time.perf_counter() - due)
        if connection.open:
            self._idle.append(connection)
        return answer


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed; NaN of none."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


def post(path: str, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole request, ready to be sent any number of times; `headers` have _ for -."""
    named = {"host": "bench", "content-type": content_type, "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join((*lines, "", "")).encode() + body
