"""What ONNX Runtime itself does, without any server: `python -m bench.runtime.limit MODEL SECONDS` prints one JSON object.

Each way to use the cores gets its share of the time, and the best one counts: one caller with all cores inside the run, or one
caller a core with one thread each.
"""

import json
import os
import statistics
import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime


def _session(model: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, callers: int, seconds: float) -> list[list[float]]:
    """Seconds of every run of each caller."""
    entry = session.get_inputs()[0]
    row = np.random.default_rng(0).normal(size=(1, *entry.shape[1:])).astype(np.float32)
    session.run(None, {entry.name: row})
    durations: list[list[float]] = [[] for _ in range(callers)]
    stop = time.perf_counter() + seconds

    def call(own: list[float]) -> None:
        last = time.perf_counter()
        while last < stop:
            session.run(None, {entry.name: row})
            now = time.perf_counter()
            own.append(now - last)
            last = now

    threads = [threading.Thread(target=call, args=(own,)) for own in durations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return durations


def main(model: str, seconds: float) -> None:
    cores = len(os.sched_getaffinity(0))
    ways = sorted({(1, 1), (1, cores), (cores, 1)})
    figures = []
    for callers, threads in ways:
        found = _run(_session(model, threads), callers, seconds / len(ways))
        # A caller's last run ends after its time: what it did in the time that it really took is its rate.
        rate = sum(len(own) / sum(own) for own in found)
        durations = [duration for own in found for duration in own]
        p99 = statistics.quantiles(durations, n=100)[-1] if len(durations) > 1 else durations[0]
        p50 = statistics.median(durations)
        figures.append({"callers": callers, "threads": threads, "rate": rate, "p50": p50, "p99": p99})
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
