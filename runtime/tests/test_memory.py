"""The short form of `bench.runtime_memory`: a leak of one answer in a hundred shows in seconds."""

import asyncio
from collections import Counter
from pathlib import Path

from bench.runtime_memory import measure
from bench.runtime_process import RuntimeProcess
from bench.runtime_start import write_model
from bench.traffic import FEATURES, PIPELINE, Ports, send

REQUESTS = 20_000
# Over so short a run the allocator's own habits are still to be seen.
MOST_GROWTH = 0.1


def test_memory_does_not_grow_with_the_requests(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", FEATURES, 64, 10)
    with RuntimeProcess(tmp_path / "model.onnx") as runtime:
        warm, last, codes = asyncio.run(measure(runtime, REQUESTS))
    assert set(codes) == {200, 400}
    assert codes[200] > 0.98 * REQUESTS
    assert last / warm - 1 < MOST_GROWTH


def test_clients_that_leave_without_reading_leave_nothing_behind(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", FEATURES, 64, 10)

    def come_and_go(runtime: RuntimeProcess, groups: int) -> None:
        asyncio.run(
            send(Ports(runtime.port, runtime.grpc_port), groups * PIPELINE, Counter(), lambda _: None, leaving=0.5)
        )

    with RuntimeProcess(tmp_path / "model.onnx") as runtime:
        come_and_go(runtime, 100)
        warm = runtime.rss()
        come_and_go(runtime, 700)
        assert runtime.rss() / warm - 1 < MOST_GROWTH
