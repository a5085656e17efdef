"""Whether the runtime's memory grows with the requests it has answered.

    .venv/bin/python -m bench.runtime_memory                        ten million requests
    .venv/bin/python -m bench.runtime_memory --requests 500000

A mix of sizes and forms, some wrong, some whose client leaves without reading its answers, over
connections that come and go. Resident memory is compared between the end of the warm-up (the first
tenth) and the end of the run; the goal is a growth under 5 %.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvloop

from bench.openloop import post
from bench.runtime_process import RuntimeProcess
from bench.runtime_start import write_model

FEATURES = 128
CONNECTIONS = 8
# Requests that travel together, so that this client is not what the run waits for.
PIPELINE = 32
# Groups after which a connection is closed, and the share of groups whose answers nobody reads.
GROUPS_A_CONNECTION = 200
LEAVING = 0.005
SAMPLE_SECONDS = 0.25
WARM_UP = 0.1
COMPARED = 0.05
MOST_GROWTH = 0.05
ANSWER_SECONDS = 60.0

_STATUS = b"HTTP/1.1 "
_LAST_BYTES = len(_STATUS) + 2


def requests() -> list[tuple[float, bytes]]:
    """Whole requests, each with its share of the mix."""
    random_rows = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random_rows.normal(size=(count, FEATURES)).round(4).astype(np.float32)

    def infer(count: int) -> bytes:
        tensor = {"name": "x", "shape": [count, FEATURES], "datatype": "FP32", "data": rows(count).ravel().tolist()}
        return post("/v2/models/model/infer", json.dumps({"inputs": [tensor]}).encode())

    def binary(count: int) -> bytes:
        data = rows(count).tobytes()
        tensor = {
            "name": "x",
            "shape": [count, FEATURES],
            "datatype": "FP32",
            "parameters": {"binary_data_size": len(data)},
        }
        head = json.dumps(
            {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
        ).encode()
        request = post("/v2/models/model/infer", head + data, "application/octet-stream")
        return request.replace(b"host: bench", b"host: bench\r\ninference-header-content-length: %d" % len(head), 1)

    def predict(count: int) -> bytes:
        return post("/v1/models/model:predict", json.dumps({"instances": rows(count).tolist()}).encode())

    return [
        (0.450, infer(1)),
        (0.200, predict(1)),
        (0.310, binary(1)),
        (0.015, infer(16)),
        (0.015, binary(64)),
        (0.002, binary(512)),
        (0.003, post("/v1/models/model:predict", b'{"instances": [[1, 2]]}')),
        (0.003, post("/v2/models/model/infer", b'{"inputs": [')),
        (0.002, b"GET /v2/models/model HTTP/1.1\r\nhost: bench\r\n\r\n"),
    ]


class _Reader(asyncio.Protocol):
    """Counts the answers by their status lines, which is all that this measurement needs of them."""

    def __init__(self, codes: Counter[int]) -> None:
        self._codes = codes
        self._tail = b""
        self._wanted = 0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def answered(self, count: int) -> "asyncio.Future[None]":
        """Done once so many more answers have begun."""
        self._wanted += count
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        place = data.find(_STATUS)
        while 0 <= place <= len(data) - _LAST_BYTES - 1:
            self._codes[int(data[place + 9 : place + 12])] += 1
            self._wanted -= 1
            place = data.find(_STATUS, place + _LAST_BYTES)
        # A status line that is cut off is counted with what comes next, and none twice.
        self._tail = data[place:] if place >= 0 else data[-(len(_STATUS) - 1) :]
        if self._wanted <= 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def leave(self) -> None:
        """Close, whatever has not been answered."""
        if self._done is not None:
            self._done.cancel()
        self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the runtime closed a connection"))


async def send(
    port: int, count: int, codes: Counter[int], progress: Callable[[int], None], leaving: float = LEAVING
) -> None:
    """Send so many requests over `CONNECTIONS` connections, each answered before the next group goes.

    `leaving` is the share of the groups after which the connection is closed without reading.
    """
    mix = requests()
    left = count

    async def client(seed: int) -> None:
        nonlocal left
        choice = random.Random(seed)
        loop = asyncio.get_running_loop()
        while left > 0:
            transport, reader = await loop.create_connection(lambda: _Reader(codes), "127.0.0.1", port)
            for _ in range(GROUPS_A_CONNECTION):
                left -= PIPELINE
                group = choice.choices([one for _, one in mix], [share for share, _ in mix], k=PIPELINE)
                answered = reader.answered(PIPELINE)
                transport.write(b"".join(group))
                if choice.random() < leaving:
                    progress(PIPELINE)
                    break
                async with asyncio.timeout(ANSWER_SECONDS):
                    await answered
                progress(PIPELINE)
                if left <= 0:
                    break
            reader.leave()

    await asyncio.gather(*(client(seed) for seed in range(CONNECTIONS)))


async def measure(runtime: RuntimeProcess, count: int) -> tuple[float, float, Counter[int]]:
    """Resident bytes after the warm-up and at the end, medians of what was sampled, and the answers by status."""
    codes: Counter[int] = Counter()
    samples: list[tuple[float, int]] = []
    done = 0

    def progress(more: int) -> None:
        nonlocal done
        before, done = done, done + more
        if done * 10 // count > before * 10 // count:
            print(f"{done:>10,} requests, {runtime.rss() / 2**20:6.1f} MiB, {time.strftime('%H:%M:%S')}", flush=True)

    async def sample() -> None:
        while True:
            samples.append((done / count, runtime.rss()))
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    await send(runtime.port, count, codes, progress)
    samples.append((1.0, runtime.rss()))
    sampling.cancel()
    warm = [rss for share, rss in samples if WARM_UP <= share <= WARM_UP + COMPARED]
    last = [rss for share, rss in samples if share >= 1 - COMPARED]
    return statistics.median(warm or [samples[0][1]]), statistics.median(last), codes


def main() -> int:
    """Print the figures; 1 when memory grew by more than the goal, or a request failed by a fault of the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000)
    count = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        write_model(model, FEATURES, 64, 10)
        started = time.perf_counter()
        with RuntimeProcess(model) as runtime, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            warm, last, codes = runner.run(measure(runtime, count))
    seconds = time.perf_counter() - started
    growth = last / warm - 1
    print(f"{count:,} requests in {seconds:.0f} s: {dict(sorted(codes.items()))}")
    print(f"after the warm-up {warm / 2**20:.1f} MiB, at the end {last / 2**20:.1f} MiB: {growth:+.1%}, goal under 5 %")
    return int(growth >= MOST_GROWTH or any(code >= 500 for code in codes))


if __name__ == "__main__":
    sys.exit(main())
