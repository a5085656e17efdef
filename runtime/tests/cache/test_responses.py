"""The response cache: its decisions with a scripted store, and a real Redis that comes, goes, stalls and lies."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from haldane_runtime.cache import responses
from haldane_runtime.cache.responses import Outcome, ResponseCache, connect
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Array

OUTPUTS: dict[str, Array] = {"y": np.array([[1.5, 2.5]], np.float32)}
WAIT_SECONDS = 20.0


class Memory:
    """A store in memory; lookups wait while `gate` is closed."""

    where = "memory"

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.lookups: list[list[bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.seconds = 0.0
        self.connects = 0

    async def connect(self) -> None:
        self.connects += 1
        if self.failure:
            raise self.failure

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        self.lookups.append(list(keys))
        await self.gate.wait()
        await asyncio.sleep(self.seconds)
        if self.failure:
            raise self.failure
        return [self.values.get(key) for key in keys]

    async def write(self, entries: Sequence[tuple[bytes, bytes]], seconds: float) -> int:
        if self.failure:
            raise self.failure
        self.values.update(entries)
        return 0

    async def disconnect(self) -> None:
        pass


@pytest.fixture
def counted() -> Counter[Outcome]:
    return Counter()


@pytest.fixture
async def opened(counted: Counter[Outcome]) -> AsyncIterator[Callable[..., ResponseCache]]:
    """`opened(backend or url)` is a cache that ends with the test."""
    caches: list[ResponseCache] = []

    def make(place: Any, ttl: float = 60) -> ResponseCache:
        count = lambda outcome: counted.update([outcome])  # noqa: E731
        caches.append(connect(place, ttl, count) if isinstance(place, str) else ResponseCache(place, ttl, count))
        return caches[-1]

    yield make
    for cache in caches:
        await cache.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def kept(cache: ResponseCache, key: bytes) -> dict[str, Array]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if outputs := await cache.get(key):
                return outputs
            await asyncio.sleep(0.005)


async def test_lookups_of_a_moment_travel_together(opened: Callable[..., ResponseCache]) -> None:
    memory = Memory()
    cache = opened(memory)
    await until(lambda: cache.usable)
    cache.put(b"a", OUTPUTS)
    await until(lambda: memory.values)
    answers = await asyncio.gather(*(cache.get(key) for key in (b"a", b"b", b"a")))
    assert [answer is not None for answer in answers] == [True, False, True]
    assert memory.lookups == [[b"a", b"b", b"a"]]


async def test_a_stall_ends_every_lookup_at_once_and_is_not_waited_for_again(
    opened: Callable[..., ResponseCache], counted: Counter[Outcome]
) -> None:
    memory = Memory()
    cache = opened(memory)
    await until(lambda: cache.usable)
    memory.gate.clear()
    memory.failure = OSError("still down")
    started = time.monotonic()
    assert await asyncio.gather(*(cache.get(bytes([n])) for n in range(200))) == [None] * 200
    await until(lambda: not cache.usable)
    assert len(memory.lookups) == 1
    assert await cache.get(b"z") is None
    cache.put(b"z", OUTPUTS)
    assert len(memory.lookups) == 1
    # One after the other, they would have taken four seconds.
    assert time.monotonic() - started < 200 * responses.LOOKUP_SECONDS / 2
    assert counted == {Outcome.ERROR: 65, Outcome.SKIPPED: 136, Outcome.UNSTORED: 1}


async def test_a_lookup_is_timed_from_its_start_however_many_wait(
    opened: Callable[..., ResponseCache], counted: Counter[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "LOOKUP_SECONDS", 2.0)
    memory = Memory()
    memory.seconds = 1.2
    cache = opened(memory)
    await until(lambda: cache.usable)
    lookups = [asyncio.create_task(cache.get(bytes([n]))) for n in range(responses.LOOKUPS_AT_ONCE + 8)]
    assert await asyncio.gather(*lookups) == [None] * len(lookups)
    # The second batch would have had its answer after 2.4 s.
    assert counted == {Outcome.MISS: responses.LOOKUPS_AT_ONCE, Outcome.ERROR: 8}
    assert cache.usable


async def test_no_more_lookups_wait_than_are_answered_in_time(
    opened: Callable[..., ResponseCache], counted: Counter[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "LOOKUP_SECONDS", 2.0)
    memory = Memory()
    cache = opened(memory)
    await until(lambda: cache.usable)
    await cache.get(b"fast")
    counted.clear()
    await asyncio.gather(*(cache.get(b"a") for _ in range(1000)))
    line = responses.BATCHES_IN_LINE * responses.LOOKUPS_AT_ONCE
    assert counted == {Outcome.MISS: line, Outcome.SKIPPED: 1000 - line}
    # A slow answer shortens the line.
    memory.seconds = 1.1
    await cache.get(b"slow")
    counted.clear()
    lookups = [asyncio.create_task(cache.get(b"a")) for _ in range(1000)]
    await asyncio.sleep(0)
    assert counted == {Outcome.SKIPPED: 1000 - responses.LOOKUPS_AT_ONCE}
    for lookup in lookups:
        lookup.cancel()


async def test_a_busy_event_loop_is_not_taken_for_a_slow_store(opened: Callable[..., ResponseCache]) -> None:
    memory = Memory()
    cache = opened(memory)
    await until(lambda: cache.usable)
    memory.gate.clear()
    lookup = asyncio.create_task(cache.get(b"a"))
    await until(lambda: memory.lookups)
    memory.gate.set()
    time.sleep(responses.LOOKUP_SECONDS * 2)  # noqa: ASYNC251
    assert await lookup is None
    assert cache.usable


async def test_probes_come_ever_more_rarely() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0 if len(slept) < 9 else WAIT_SECONDS)

    memory = Memory()
    memory.failure = OSError("down")
    cache = ResponseCache(memory, 60, lambda _: None, sleep)
    await until(lambda: len(slept) == 9)
    await cache.close()
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_what_is_too_large_or_too_much_is_dropped(
    opened: Callable[..., ResponseCache], counted: Counter[Outcome]
) -> None:
    cache = opened(Memory())
    await until(lambda: cache.usable)
    cache.put(b"large", {"y": np.zeros(responses.VALUE_BYTES, np.uint8)})
    cache.put(b"mixed", {"y": np.array(["a", 1], dtype=np.object_)})
    cache.put(b"text", {"y": np.array(["a" * responses.VALUE_BYTES], dtype=np.object_)})
    assert counted == {Outcome.UNSTORED: 3}
    fits = responses.WAITING_BYTES // (responses.VALUE_BYTES - 1024 + 100)
    for n in range(fits + 3):
        cache.put(bytes([n]), {"y": np.zeros(responses.VALUE_BYTES - 1024, np.uint8)})
    assert 5 <= counted[Outcome.UNSTORED] <= 6


async def test_a_client_that_leaves_takes_only_its_own_lookup_along(opened: Callable[..., ResponseCache]) -> None:
    memory = Memory()
    cache = opened(memory)
    await until(lambda: cache.usable)
    memory.gate.clear()
    gone, stays = asyncio.create_task(cache.get(b"a")), asyncio.create_task(cache.get(b"b"))
    await until(lambda: memory.lookups)
    gone.cancel()
    memory.gate.set()
    assert await stays is None
    assert gone.cancelled() or gone.cancelling()
    assert cache.usable


async def test_an_answer_is_kept_in_redis_and_forgotten_in_time(
    redis: Any, opened: Callable[..., ResponseCache], counted: Counter[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "LOOKUP_SECONDS", WAIT_SECONDS)
    redis.start()
    cache, other = opened(redis.url, ttl=1.0), opened(redis.url)
    await until(lambda: cache.usable and other.usable)
    assert await cache.get(b"k") is None
    cache.put(b"k", OUTPUTS)
    np.testing.assert_array_equal((await kept(cache, b"k"))["y"], OUTPUTS["y"])
    assert await other.get(b"k") is not None
    await asyncio.sleep(1.05)
    assert await cache.get(b"k") is None
    assert counted[Outcome.HIT] >= 2
    assert counted[Outcome.ERROR] == counted[Outcome.UNSTORED] == 0


async def test_a_redis_that_is_down_costs_nothing_and_is_found_when_it_comes(
    redis: Any, opened: Callable[..., ResponseCache], counted: Counter[Outcome]
) -> None:
    cache = opened(redis.url)
    started = time.process_time()
    for n in range(1000):
        assert await cache.get(bytes([n % 256])) is None
        cache.put(bytes([n % 256]), OUTPUTS)
    assert time.process_time() - started < 1
    assert counted == {Outcome.ERROR: 1000, Outcome.UNSTORED: 1000}
    redis.start()
    await until(lambda: cache.usable)
    cache.put(b"k", OUTPUTS)
    assert await kept(cache, b"k")
    redis.stop()
    assert await cache.get(b"k") is None
    await until(lambda: not cache.usable)
    redis.start()
    await until(lambda: cache.usable)
    assert await cache.get(b"k") is None
    cache.put(b"k", OUTPUTS)
    assert await kept(cache, b"k")


async def test_a_redis_that_stalls_costs_one_short_wait(redis: Any, opened: Callable[..., ResponseCache]) -> None:
    redis.start()
    cache = opened(redis.url)
    await until(lambda: cache.usable)
    cache.put(b"k", OUTPUTS)
    await kept(cache, b"k")
    redis.freeze()
    asked, waits = 0, []
    for _ in range(200):
        asked += cache.usable
        started = time.monotonic()
        assert await cache.get(b"k") is None
        waits.append(time.monotonic() - started)
        await asyncio.sleep(0.001)
    assert 1 <= asked <= 3
    # One after the other, they would have taken four seconds.
    assert sum(waits) < len(waits) * responses.LOOKUP_SECONDS / 4
    redis.thaw()
    # The answers to the lookups that were given up must not be taken for those of later ones.
    await until(lambda: cache.usable)
    assert await cache.get(b"absent") is None
    assert await kept(cache, b"k")


async def test_garbage_under_a_key_is_a_miss_and_overwritten(
    redis: Any, opened: Callable[..., ResponseCache], counted: Counter[Outcome]
) -> None:
    redis.start()
    cache = opened(redis.url)
    await until(lambda: cache.usable)
    with socket.create_connection(("127.0.0.1", redis.port)) as client:
        client.sendall(b"SET k nonsense\r\nRPUSH list 1\r\n")
        assert client.recv(64)
    assert await cache.get(b"k") is None
    assert counted == {Outcome.ERROR: 1}
    assert await cache.get(b"list") is None
    cache.put(b"k", OUTPUTS)
    assert await kept(cache, b"k")
    assert cache.usable


async def test_a_full_redis_still_answers_lookups(
    redis: Any, opened: Callable[..., ResponseCache], counted: Counter[Outcome]
) -> None:
    redis.start()
    cache = opened(redis.url)
    await until(lambda: cache.usable)
    cache.put(b"k", OUTPUTS)
    await kept(cache, b"k")
    with socket.create_connection(("127.0.0.1", redis.port)) as client:
        client.sendall(b"CONFIG SET maxmemory 1\r\n")
        assert client.recv(64) == b"+OK\r\n"
    cache.put(b"l", OUTPUTS)
    await until(lambda: counted[Outcome.UNSTORED])
    assert await cache.get(b"k") is not None
    assert cache.usable


async def test_a_wrong_password_is_told_without_showing_it(
    redis: Any, opened: Callable[..., ResponseCache], caplog: pytest.LogCaptureFixture
) -> None:
    redis.start("--requirepass", "right-one")
    cache = opened(redis.url.replace("redis://", "redis://:wrong-one@"))
    await until(lambda: "left alone" in caplog.text)
    assert "invalid username-password" in caplog.text
    assert "wrong-one" not in caplog.text
    assert await cache.get(b"k") is None
    right = opened(redis.url.replace("redis://", "redis://:right-one@"))
    await until(lambda: right.usable)


async def test_a_server_of_another_kind_is_left_alone(
    opened: Callable[..., ResponseCache], caplog: pytest.LogCaptureFixture
) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    cache = opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await until(lambda: "left alone" in caplog.text)
    assert await cache.get(b"k") is None
    server.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://", "redis://:secret@host:port", ""])
async def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(LoadError, match="must be a URL like redis://") as caught:
        connect(url, 60, lambda _: None)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert "secret" not in caught.value.message
