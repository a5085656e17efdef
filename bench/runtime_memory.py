"""Whether the runtime's memory grows with the requests it has answered.

    .venv/bin/python -m bench.runtime_memory                        ten million requests
    .venv/bin/python -m bench.runtime_memory --requests 500000

A mix of sizes and forms over HTTP and gRPC, some wrong, some whose client leaves without reading its answers,
over connections that come and go. Resident memory is compared between the end of the warm-up (the first
tenth) and the end of the run; the goal is a growth under 5 %.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from bench.runtime_process import RuntimeProcess
from bench.runtime_start import write_model
from bench.traffic import FEATURES, Ports, send

SAMPLE_SECONDS = 0.25
WARM_UP = 0.1
COMPARED = 0.05
MOST_GROWTH = 0.05


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
    await send(Ports(runtime.port, runtime.grpc_port), count, codes, progress)
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
