"""The request log on real pipes: read, not read, and broken."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from haldane_runtime.observe import requestlog
from haldane_runtime.observe.requestlog import RequestLog

LINE: dict[str, Any] = {
    "id": "r-1",
    "model": "fraud",
    "version": "2",
    "digest": b"\x01\xff",
    "code": 200,
    "outcome": "ok",
    "rows": 3,
    "decode": 0.0001,
    "queue": 0.002,
    "infer": 0.03,
    "encode": 0.0000004,
}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    near, far = os.pipe()
    yield near, far
    for end in (near, far):
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(descriptor: int) -> list[dict[str, Any]]:
    data = b""
    while chunk := os.read(descriptor, 1 << 20):
        data += chunk
    return [json.loads(line) for line in data.splitlines()]


def test_a_line_says_what_happened_and_where_the_time_went(pipe: tuple[int, int]) -> None:
    log = RequestLog(1, "shop", "abc123", pipe[1])
    assert log.sample()
    log.write(**LINE)
    log.close()
    os.close(pipe[1])
    (line,) = read_all(pipe[0])
    assert line.pop("time").endswith("Z")
    assert line == {
        "id": "r-1",
        "model": "fraud",
        "version": "2",
        "namespace": "shop",
        "revision": "abc123",
        "input": "01ff",
        "code": 200,
        "outcome": "ok",
        "rows": 3,
        "milliseconds": {"decode": 0.1, "queue": 2.0, "infer": 30.0, "encode": 0.0},
    }


@pytest.mark.parametrize(("share", "low", "high"), [(0, 0, 0), (0.1, 500, 1500), (1, 10_000, 10_000)])
def test_the_share_of_requests_is_sampled(pipe: tuple[int, int], share: float, low: int, high: int) -> None:
    log = RequestLog(share, "", "", pipe[1])
    assert low <= sum(log.sample() for _ in range(10_000)) <= high
    log.close()


def test_a_standard_output_that_nobody_reads_costs_lines_and_no_time(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requestlog, "BUFFER_BYTES", 100_000)
    log = RequestLog(1, "", "", pipe[1])
    longest = 0.0
    for _ in range(5000):
        started = time.monotonic()
        log.write(**LINE)
        longest = max(longest, time.monotonic() - started)
    # The pipe itself takes 64 KiB.
    assert log.dropped > 3000
    assert longest < 0.5
    monkeypatch.setattr(requestlog, "CLOSE_SECONDS", 0.05)
    log.close()
    # Read at last, the writer goes on, ends, and says how many are missing.
    os.set_blocking(pipe[0], False)
    data = b""
    deadline = time.monotonic() + 20
    told = 0
    # It may say so more than once, when it is interrupted in between.
    while told < 5000:
        assert time.monotonic() < deadline
        try:
            data += os.read(pipe[0], 1 << 20)
        except BlockingIOError:
            time.sleep(0.01)
        told = sum(json.loads(line).get("dropped", 1) for line in data.splitlines(True) if line.endswith(b"\n"))
    assert told == 5000


def test_a_pipe_without_a_reader_is_survived(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    log = RequestLog(1, "", "", pipe[1])
    log.write(**LINE)
    log.close()
    assert log.dropped == 1


def test_a_non_blocking_standard_output_gets_every_line(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    log = RequestLog(1, "", "", pipe[1])
    for _ in range(1000):
        log.write(**LINE)
    lines = 0
    while lines < 1000:
        lines += os.read(pipe[0], 1 << 16).count(b"\n")
    log.close()
    assert log.dropped == 0


def test_an_id_that_is_no_text_or_endless_is_told_as_far_as_it_goes(pipe: tuple[int, int]) -> None:
    log = RequestLog(1, "", "", pipe[1])
    log.write(**LINE | {"id": "a\ud800"})
    log.write(**LINE | {"id": "x" * 1_000_000})
    log.close()
    os.close(pipe[1])
    assert [line["id"] for line in read_all(pipe[0])] == ["'a\\ud800'", "x" * 256]
