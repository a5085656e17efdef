"""Answers of a deterministic model, looked up by their question.

A client never waits for a Redis that does not answer: lookups of a moment travel together, the first
batch that takes longer than `LOOKUP_SECONDS` ends all that wait, and until a task in the background has
found Redis well again nothing is asked. Nor does it wait in a long line: no more lookups are taken than
Redis answers within `LOOKUP_SECONDS` at its last pace, and each ends that long after it was asked for.
What is kept for whom is the caller's business (see `key_of`).
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum

from haldane_runtime.cache.backend import Backend, RedisBackend
from haldane_runtime.cache.encoding import Garbage, Unencodable, decode, encode
from haldane_runtime.core.types import Array, tensor_bytes

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 0.02
WRITE_SECONDS = 1.0
PROBE_SECONDS = 2.0
FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 10.0
LOOKUPS_AT_ONCE = 32
# However fast Redis is, since requests that are looked up are in nobody's queue.
BATCHES_IN_LINE = 8
WRITES_AT_ONCE = 64
# A larger answer takes longer to fetch than many a model to run.
VALUE_BYTES = 1 << 18
WAITING_BYTES = 16 << 20
# Turns that a busy event loop gets to hear an answer that has long arrived.
GRACE_TURNS = 5
# More, because an answer that is heard has still to be handed to those who asked.
LAST_TURNS = 2 * GRACE_TURNS


class Outcome(StrEnum):
    """What became of a lookup (hit, miss, error, skipped) or of an answer that was to be kept (unstored)."""

    HIT = "hit"
    MISS = "miss"
    # Redis down, slow or not asked because of it, or the value garbage.
    ERROR = "error"
    # More lookups waited than Redis answers in time.
    SKIPPED = "skipped"
    UNSTORED = "unstored"


class ResponseCache:
    """Belongs to one event loop; `count` is called once a lookup and once an answer that could not be kept.

    Nothing it does raises. It is of use once its task in the background has reached Redis.
    """

    def __init__(
        self,
        backend: Backend,
        ttl: float,
        count: Callable[[Outcome], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`ttl` in seconds. Must be made within a running event loop."""
        self._backend = backend
        self._ttl = ttl
        self._count = count
        self._sleep = sleep
        self._usable = False
        self._asked: deque[tuple[bytes, asyncio.Future[bytes | None]]] = deque()
        self._unwritten: deque[tuple[bytes, bytes]] = deque()
        self._unwritten_bytes = 0
        self._to_read = asyncio.Event()
        self._to_write = asyncio.Event()
        self._served = False
        # Seconds that the last batch took.
        self._pace = LOOKUP_SECONDS / 2
        self._task = asyncio.get_running_loop().create_task(self._live(), name="response cache")

    @property
    def usable(self) -> bool:
        """False while Redis is not asked."""
        return self._usable

    def takes(self) -> bool:
        """Whether a lookup would be asked now; one that would not is counted."""
        if not self._usable:
            self._count(Outcome.ERROR)
            return False
        batches = max(1, min(BATCHES_IN_LINE, int(LOOKUP_SECONDS / self._pace)))
        if len(self._asked) >= batches * LOOKUPS_AT_ONCE:
            self._count(Outcome.SKIPPED)
            return False
        return True

    async def get(self, key: bytes, seconds: float = math.inf) -> dict[str, Array] | None:
        """The outputs kept under `key`, or None: after `LOOKUP_SECONDS` or, if that is less, `seconds` at the latest.

        Arrays may be read-only.
        """
        if not self.takes():
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._asked.append((key, future))
        self._to_read.set()
        expiry = loop.call_later(max(0.0, min(LOOKUP_SECONDS, seconds)), _expire, future, LAST_TURNS)
        try:
            value = await future
            outputs = None if value is None else decode(value)
        except (Unanswered, Garbage):
            self._count(Outcome.ERROR)
            return None
        finally:
            expiry.cancel()
        self._count(Outcome.MISS if outputs is None else Outcome.HIT)
        return outputs

    def put(self, key: bytes, outputs: Mapping[str, Array]) -> None:
        """Keep `outputs`, soon; dropped when Redis is away, they are too large or too much waits already."""
        if not self._usable or tensor_bytes(outputs.values()) > VALUE_BYTES:
            self._count(Outcome.UNSTORED)
            return
        try:
            value = encode(outputs)
        except Unencodable:
            value = b""
        if not value or len(value) > VALUE_BYTES or self._unwritten_bytes + len(value) > WAITING_BYTES:
            self._count(Outcome.UNSTORED)
            return
        self._unwritten.append((key, value))
        self._unwritten_bytes += len(value)
        self._to_write.set()

    async def close(self) -> None:
        """End the tasks and the connections; answers that still wait to be kept are dropped."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _live(self) -> None:
        """Find Redis, serve until it fails, wait longer each time unless it has served in between."""
        backoff = FIRST_BACKOFF_SECONDS
        told = False
        try:
            while True:
                reason = await self._connect()
                if reason is None:
                    log.info("the response cache at %s is in use", self._backend.where)
                    served, reason = await self._serve()
                    told = False
                    backoff = FIRST_BACKOFF_SECONDS if served else backoff
                if not told:
                    log.warning("the response cache at %s is left alone: %s", self._backend.where, reason)
                    told = True
                await self._sleep(backoff)
                backoff = min(LAST_BACKOFF_SECONDS, backoff * 2)
        finally:
            await self._disconnect()

    async def _connect(self) -> str | None:
        """None, or why Redis cannot be used."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._backend.connect()
        except Exception as error:
            await self._disconnect()
            return _line(error)
        return None

    async def _serve(self) -> tuple[bool, str]:
        """Until the first failure: whether any lookup was answered, and what failed."""
        self._served = False
        self._usable = True
        tasks = {asyncio.create_task(self._read_all()), asyncio.create_task(self._write_all())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return self._served, done.pop().result()
        finally:
            self._usable = False
            for task in tasks:
                task.cancel()
            self._abandon()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._disconnect()

    async def _read_all(self) -> str:
        while True:
            await self._to_read.wait()
            self._to_read.clear()
            while lookups := self._next():
                started = time.monotonic()
                try:
                    values = await self._answered([key for key, _ in lookups])
                except Exception as error:
                    # Back in line, where `_abandon` ends them with all the others.
                    self._asked.extendleft(lookups)
                    return _line(error)
                self._served = True
                self._pace = time.monotonic() - started
                for (_, future), value in zip(lookups, values, strict=True):
                    if not future.done():
                        future.set_result(value)

    def _next(self) -> list[tuple[bytes, asyncio.Future[bytes | None]]]:
        """The next batch, without those that nobody waits for any more."""
        lookups: list[tuple[bytes, asyncio.Future[bytes | None]]] = []
        while self._asked and len(lookups) < LOOKUPS_AT_ONCE:
            lookup = self._asked.popleft()
            if not lookup[1].done():
                lookups.append(lookup)
        return lookups

    async def _answered(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        asking = asyncio.ensure_future(self._backend.read(keys))
        try:
            await asyncio.wait({asking}, timeout=LOOKUP_SECONDS)
            for _ in range(GRACE_TURNS):
                if asking.done():
                    break
                # The loop may have been busy all the time: then the answer lies in the socket.
                await asyncio.sleep(0)
            if not asking.done():
                raise TimeoutError(f"a lookup took longer than {LOOKUP_SECONDS * 1000:.0f} ms")
            return asking.result()
        finally:
            asking.cancel()

    async def _write_all(self) -> str:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._unwritten:
                entries = [self._unwritten.popleft() for _ in range(min(WRITES_AT_ONCE, len(self._unwritten)))]
                self._unwritten_bytes -= sum(len(value) for _, value in entries)
                refused = len(entries)
                try:
                    async with asyncio.timeout(WRITE_SECONDS):
                        refused = await self._backend.write(entries, self._ttl)
                except Exception as error:
                    return _line(error)
                finally:
                    self._lose(refused)

    def _abandon(self) -> None:
        while self._asked:
            _, future = self._asked.popleft()
            if not future.done():
                future.set_exception(Unanswered)
        self._lose(len(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0

    def _lose(self, number: int) -> None:
        for _ in range(number):
            self._count(Outcome.UNSTORED)

    async def _disconnect(self) -> None:
        # A connection that is already broken may complain about being closed.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PROBE_SECONDS):
                await self._backend.disconnect()


class Unanswered(Exception):
    """Redis was given up while a lookup waited, or the lookup's time is over."""


def _expire(future: asyncio.Future[bytes | None], turns: int) -> None:
    """End a lookup, unless its answer is heard within `turns` of the event loop, which may have been busy."""
    if future.done():
        return
    if turns:
        asyncio.get_running_loop().call_soon(_expire, future, turns - 1)
    else:
        future.set_exception(Unanswered)


def connect(url: str, ttl: float, count: Callable[[Outcome], None]) -> ResponseCache:
    """The cache in the Redis at `url`, which need not be there yet; to be called within the event loop.

    Raises:
        LoadError: InvalidConfiguration, when `url` is not a Redis URL.
    """
    return ResponseCache(RedisBackend(url), ttl, count)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
