"""S3 downloads through a network and servers that misbehave: for a while, and without end."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store import pace, s3
from haldane_runtime.store.fetch import FetchedModel, S3Options, fetch
from haldane_runtime.store.location import parse

SIZE = 40_000_000
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def large(storage: Any) -> tuple[str, bytes]:
    """An object of five ranges and its content."""
    body = os.urandom(SIZE)
    return storage.put("faults/model.onnx", body), body


@pytest.fixture
def get(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FetchedModel]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", storage.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", storage.SECRET)

    def getter(uri: str, endpoint: str) -> FetchedModel:
        return fetch(parse(uri), None, tmp_path / "cache", S3Options(endpoint, None))

    return getter


def test_a_large_object_comes_in_ranges_at_the_same_time(
    storage: Any, large: tuple[str, bytes], get: Callable[..., FetchedModel], faulty: Any, fault: Any
) -> None:
    together = threading.Barrier(4)
    proxy = faulty(storage.port, lambda number, head: held(together) if 0 < number < 5 else None)
    fetched = get(large[0], proxy.url)
    assert not together.broken
    assert fetched.digest == hashlib.sha256(large[1]).hexdigest()
    assert fetched.path.read_bytes() == large[1]
    step = 8 * MEBIBYTE
    expected = {f"bytes={start}-{min(start + step, SIZE) - 1}" for start in range(0, SIZE, step)}
    assert set(proxy.ranges) == expected
    assert len(proxy.ranges) == len(expected)
    assert 4 <= proxy.most_at_once <= s3.CONNECTIONS


FEW: dict[str, Callable[[Any, int], Any]] = {
    "latency": lambda fault, number: fault(delay=0.4),
    "resets in the middle of a body": lambda fault, number: fault(reset_after=1_700_000) if number < 12 else None,
    "truncated bodies": lambda fault, number: fault(cut_after=3_000_000) if number < 10 else None,
    "bodies that end at once": lambda fault, number: fault(cut_after=0) if number < 8 else None,
    "no answer at all": lambda fault, number: fault(instead=b"") if number < 8 else None,
    "stalls in the middle of a body": lambda fault, number: fault(stall_after=2_000_000) if number < 3 else None,
}


@pytest.mark.parametrize("name", FEW)
def test_faults_that_end_cost_only_time(
    storage: Any, large: tuple[str, bytes], get: Callable[..., FetchedModel], faulty: Any, fault: Any, name: str
) -> None:
    proxy = faulty(storage.port, lambda number, head: FEW[name](fault, number) if head.startswith("GET") else None)
    assert get(large[0], proxy.url).path.read_bytes() == large[1]


def test_a_storage_that_is_too_busy_for_a_while_is_asked_again(
    storage: Any, large: tuple[str, bytes], get: Callable[..., FetchedModel], faulty: Any, fault: Any, slow_down: bytes
) -> None:
    proxy = faulty(storage.port, lambda number, head: fault(instead=slow_down) if 0 < number < 14 else None)
    assert get(large[0], proxy.url).path.read_bytes() == large[1]


ENDLESS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "resets": (lambda fault: fault(reset_after=0), "it closed the connection"),
    "truncated": (lambda fault: fault(cut_after=0), "the answer ended early"),
    "no answer": (lambda fault: fault(instead=b""), "it closed the connection"),
    "stalls": (lambda fault: fault(stall_after=0), "no answer in time"),
    "crawls": (lambda fault: fault(rate=100), "stands still: next to nothing arrived in 10 s"),
    "silent": (lambda fault: fault(delay=60), "no answer in time"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_faults_without_end_are_named_in_time(
    storage: Any,
    large: tuple[str, bytes],
    get: Callable[..., FetchedModel],
    faulty: Any,
    fault: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name != "silent":
        # The others need not be waited for as long as is right in earnest.
        monkeypatch.setattr(pace, "PATIENCE_SECONDS", 3)
    make, message = ENDLESS[name]
    proxy = faulty(storage.port, lambda number, head: make(fault) if head.startswith("GET") else None)
    started = time.monotonic()
    with pytest.raises(LoadError, match=message) as caught:
        get(large[0], proxy.url)
    assert time.monotonic() - started < 14
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE
    assert len(proxy.heads) < 100


def test_a_storage_that_stays_too_busy_is_named(
    storage: Any,
    large: tuple[str, bytes],
    get: Callable[..., FetchedModel],
    faulty: Any,
    fault: Any,
    slow_down: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 3)
    proxy = faulty(storage.port, lambda number, head: fault(instead=slow_down) if head.startswith("GET") else None)
    with pytest.raises(LoadError, match=r"answered 503 SlowDown for s3://models/faults/model\.onnx"):
        get(large[0], proxy.url)


def test_an_endpoint_that_goes_away_in_the_middle_is_named_and_gone_on_with_later(
    storage: Any,
    large: tuple[str, bytes],
    get: Callable[..., FetchedModel],
    faulty: Any,
    fault: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 3)
    down = [True]
    proxy = faulty(
        storage.port,
        lambda number, head: (
            None if number == 0 or not down[0] else fault(reset_after=5 * MEBIBYTE if number < 6 else 0)
        ),
    )
    with pytest.raises(LoadError, match="it closed the connection"):
        get(large[0], proxy.url)
    asked = len(proxy.ranges)
    down[0] = False
    assert get(large[0], proxy.url).path.read_bytes() == large[1]
    fetched = sum(_length(one) for one in proxy.ranges[asked:])
    # Of each range that was reset, what had come is kept, but for blocks under way.
    assert SIZE - 5 * 5 * MEBIBYTE <= fetched <= SIZE - 5 * 2 * MEBIBYTE


def test_an_object_replaced_in_the_middle_is_never_spliced(
    storage: Any, get: Callable[..., FetchedModel], faulty: Any, fault: Any, tmp_path: Path
) -> None:
    size = 20_000_000
    uri = storage.put("swapped/model.onnx", b"o" * size)
    swapped = threading.Event()

    def swap(number: int, head: str) -> None:
        if number == 2:
            storage.put("swapped/model.onnx", b"n" * size)
            swapped.set()
        elif number > 2:
            swapped.wait(20)

    proxy = faulty(storage.port, swap)
    with pytest.raises(LoadError, match="was replaced while it was being read; start again") as caught:
        get(uri, proxy.url)
    assert caught.value.reason is Reason.LOAD_FAILED
    assert get(uri, storage.url).path.read_bytes() == b"n" * size
    # The half of the old one is of no use any more.
    assert list((tmp_path / "cache/partial").iterdir()) == []


def test_many_small_files_are_fetched_at_the_same_time(
    storage: Any, get: Callable[..., FetchedModel], faulty: Any, fault: Any
) -> None:
    names = ["model.onnx", *(f"weights/{number}" for number in range(40)), "empty"]
    for name in names:
        storage.put(f"many/{name}", b"" if name == "empty" else name.encode())
    together = threading.Barrier(4)
    proxy = faulty(storage.port, lambda number, head: held(together) if 0 < number < 5 else None)
    fetched = get("s3://models/many/", proxy.url)
    assert not together.broken
    for name in names:
        assert (fetched.path.parent / name).read_bytes() == (b"" if name == "empty" else name.encode())


def held(together: threading.Barrier) -> None:
    """Answer nobody before as many have asked as the barrier is for."""
    together.wait(20)


def _length(header: str) -> int:
    start, end = header.removeprefix("bytes=").split("-")
    return int(end) - int(start) + 1
