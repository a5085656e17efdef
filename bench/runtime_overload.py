"""What becomes of those that are served when five times too many come.

    .venv/bin/python -m bench.runtime_overload

A model of known cost is offered 0.8, 1, 2 and 5 times what it can do, in an open loop. Held against:
at 5 times the capacity at least 90 % of the peak is still served, the p99 of what is served stays
under twice the one at 80 % load, and the others are refused (503) within milliseconds. That p99 is
what HALDANE_QUEUE_DELAY=auto promises; a last row at 5 times shows the defaults, where a request
waits as long as its deadline and the queue's length allow. Everything else is as the server chooses:
threads, batches, runs at once.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from onnx import TensorProto, helper, numpy_helper

from bench.openloop import Answer, Load, percentile, post
from bench.runtime_process import RuntimeProcess

LEVELS = (0.8, 1.0, 2.0, 5.0)
CALIBRATION_CLIENTS = 32
LEAST_GOODPUT = 0.9
MOST_P99 = 2.0
REFUSED_SECONDS = 0.05
BOUND = {"HALDANE_QUEUE_DELAY": "auto"}


def write_model(path: Path, rounds: int, batchable: bool, width: int = 256) -> None:
    """y = x after `rounds` products with a matrix of `width` by `width`: x is [N, width], or [1, width] when not batchable."""
    eye = numpy_helper.from_array(np.eye(width, dtype=np.float32), "eye")
    count = numpy_helper.from_array(np.array(rounds, np.int64), "count")
    dims = ["N" if batchable else 1, width]
    body = helper.make_graph(
        [helper.make_node("MatMul", ["state", "eye"], ["next"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, dims),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, dims),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["count", "", "x"], ["y"], body=body)],
        "work",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
        [eye, count],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


@dataclass(frozen=True, slots=True)
class Level:
    """What came of one rate: counts a second, latencies in seconds."""

    load: float
    offered: float
    goodput: float
    p50: float
    p99: float
    refused_p99: float
    codes: dict[int, int]


def level_of(load: float, rate: float, seconds: float, answers: Sequence[Answer]) -> Level:
    """Sort the answers at `rate`, all of which came within `seconds`; the rate was `load` times the capacity."""
    served = [one.seconds for one in answers if one.status == 200]
    refused = [one.seconds for one in answers if one.status == 503]
    codes = Counter(one.status for one in answers)
    return Level(
        load,
        rate,
        len(served) / seconds,
        percentile(served, 0.5),
        percentile(served, 0.99),
        percentile(refused, 0.99),
        dict(codes),
    )


def faults(levels: Sequence[Level]) -> list[str]:
    """Which of the goals were missed, as sentences."""
    lowest, highest = levels[0], levels[-1]
    peak = max(level.goodput for level in levels)
    found = []
    if highest.goodput < LEAST_GOODPUT * peak:
        found.append(f"at {highest.load:g} times the capacity {highest.goodput / peak:.0%} of the peak was served")
    if highest.p99 > MOST_P99 * lowest.p99:
        found.append(f"p99 at {highest.load:g} times is {highest.p99 / lowest.p99:.1f} times that at {lowest.load:g}")
    if highest.refused_p99 > REFUSED_SECONDS:
        found.append(f"refusals took up to {highest.refused_p99 * 1000:.0f} ms (p99)")
    if other := {code for level in levels for code in level.codes} - {200, 503}:
        found.append(f"there were other answers than 200 and 503: {sorted(other)}")
    return found


async def measure(model: Path, width: int, seconds: float) -> tuple[list[Level], Level]:
    """The levels with the queue bounded by the model's cost, and the highest with the defaults.

    Starts the runtime three times; the first is to learn the capacity.
    """
    request = post("/v1/models/model:predict", json.dumps({"instances": [[0.5] * width]}).encode())
    with RuntimeProcess(model) as runtime:
        alone = await _closed(runtime, request, 1, min(seconds, 3.0))
        cost = percentile([one.seconds for one in alone], 0.5)
        busy = await _closed(runtime, request, CALIBRATION_CLIENTS, min(seconds, 5.0))
        capacity = sum(one.status == 200 for one in busy) / min(seconds, 5.0)
        print(f"one request alone takes {cost * 1000:.1f} ms; the capacity is {capacity:.0f} requests/s")
    with RuntimeProcess(model, BOUND) as runtime:
        print(f"{BOUND}; {_choices(runtime)}\n{HEADER}")
        levels = [await _level(runtime, request, load, load * capacity, seconds) for load in LEVELS]
    with RuntimeProcess(model) as runtime:
        print(f"by default; {_choices(runtime)}")
        return levels, await _level(runtime, request, LEVELS[-1], LEVELS[-1] * capacity, seconds)


async def _level(runtime: RuntimeProcess, request: bytes, load: float, rate: float, seconds: float) -> Level:
    client = Load(runtime.port, request)
    started = time.perf_counter()
    answers = await client.open_loop(rate, seconds)
    client.close()
    # A long queue is served on after the last request has come.
    level = level_of(load, rate, max(seconds, time.perf_counter() - started), answers)
    print(_line(level), flush=True)
    return level


def _choices(runtime: RuntimeProcess) -> str:
    """What the server has measured at its start."""
    told = [line for line in runtime.log if "one run takes" in line or "by runs at once" in line]
    return "; ".join(line.split(" INFO ", 1)[-1] for line in told)


async def _closed(runtime: RuntimeProcess, request: bytes, clients: int, seconds: float) -> list[Answer]:
    client = Load(runtime.port, request)
    try:
        await client.closed_loop(clients, seconds / 3)
        return await client.closed_loop(clients, seconds)
    finally:
        client.close()


HEADER = f"{'load':>5} {'offered/s':>10} {'served/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'refused p99 ms':>15}  answers"


def _line(level: Level) -> str:
    codes = ", ".join(f"{count} x {code}" for code, count in sorted(level.codes.items()))
    return (
        f"{level.load:>4g}x {level.offered:>10.0f} {level.goodput:>9.0f} {level.p50 * 1000:>8.1f} "
        f"{level.p99 * 1000:>8.1f} {level.refused_p99 * 1000:>15.1f}  {codes}"
    )


def main() -> int:
    """Print the tables; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each level (default: 10)")
    parser.add_argument("--rounds", type=int, default=2000, help="products in one run (default: 2000, some 8 ms)")
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for batchable in (False, True):
            path = Path(folder) / ("batched" if batchable else "single") / "model.onnx"
            write_model(path, options.rounds, batchable)
            print(f"\n{'batched' if batchable else 'one request a run'}")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                levels, _ = runner.run(measure(path, 256, options.seconds))
            missed += faults(levels)
    print("\n" + ("\n".join(f"missed: {one}" for one in missed) or "every goal is met"))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
