"""How many runs at once a measurement allows, on a clock that the engine moves."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine.concurrency import runs_at_once
from haldane_runtime.engine.memory import headroom, room_for_another

ROW = 0.02
INPUTS = {"x": np.zeros((1, 1), np.float32)}


class Shared:
    """A run that has a processor for itself takes `seconds[1]`; `seconds[n]` is what n together take, each."""

    signature = ModelSignature((TensorSpec("x", Datatype.FP32, (1,)),), (TensorSpec("y", Datatype.FP32, (1,)),))

    def __init__(self, seconds: Mapping[int, float], device: str = "cpu") -> None:
        self.seconds = seconds
        self.device = device
        self.runs = 0
        self.asked = 0
        self.now = 0.0
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        with self._lock:
            self.runs += 1
        return {"y": inputs["x"]}

    def clock(self) -> float:
        """Every second reading closes a measurement: its runs have passed together by then."""
        self.asked += 1
        if self.asked % 2 == 0:
            self.now += self.seconds[self.runs] * self.runs
        self.runs = 0
        return self.now

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("seconds", "threads", "runs"),
    [
        ({1: 0.02, 2: 0.018}, 2, 2),
        ({1: 0.02, 2: 0.022}, 2, 2),
        ({1: 0.02, 2: 0.024}, 2, 1),
        ({1: 0.02, 2: 0.015, 4: 0.012, 8: 0.0119}, 8, 4),
        ({1: 0.02, 2: 0.015, 4: 0.0149}, 4, 2),
        ({1: 0.02, 2: 0.015, 4: 0.010}, 3, 2),
        ({1: 0.02}, 1, 1),
    ],
)
def test_runs_are_doubled_while_that_finishes_more(seconds: dict[int, float], threads: int, runs: int) -> None:
    engine = Shared(seconds)
    assert runs_at_once(engine, INPUTS, ROW, threads, 1.5, engine.clock) == runs


def test_what_is_short_slow_or_on_a_gpu_is_not_tried() -> None:
    engine = Shared({})
    assert runs_at_once(engine, INPUTS, 0.001, 8, 1.5, engine.clock) == 1
    assert runs_at_once(engine, INPUTS, 0.6, 8, 1.5, engine.clock) == 1
    gpu = Shared({}, "gpu")
    assert runs_at_once(gpu, INPUTS, ROW, 8, 1.5, gpu.clock) == 1
    assert engine.asked == gpu.asked == 0


def test_no_more_time_is_spent_than_there_is() -> None:
    """Eight at once would take longer than what is left after the others."""
    engine = Shared({1: 0.1, 2: 0.09, 4: 0.08, 8: 0.07})
    assert runs_at_once(engine, INPUTS, 0.1, 8, 1.5, engine.clock) == 4
    assert engine.now < 1.6


def test_a_model_that_cannot_take_it_runs_once_at_a_time() -> None:
    class Starved(Shared):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
            raise RequestError(Code.MODEL_FAILED, "no memory")

    engine = Starved({1: 0.02})
    assert runs_at_once(engine, INPUTS, ROW, 2, 1.5, engine.clock) == 1


MIB = 1 << 20
MACHINE = {"proc/meminfo": "MemTotal: 9999 kB\nMemAvailable:   8192 kB\n", "proc/self/cgroup": "0::/pod\n"}
V2 = "sys/fs/cgroup/pod"
V1 = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, float("inf")),
        (MACHINE, 8 * MIB),
        (MACHINE | {f"{V2}/memory.max": "max", f"{V2}/memory.current": "1"}, 8 * MIB),
        (
            MACHINE
            | {
                f"{V2}/memory.max": str(6 * MIB),
                f"{V2}/memory.current": str(5 * MIB),
                f"{V2}/memory.stat": f"anon 5\ninactive_file {2 * MIB}\n",
            },
            3 * MIB,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                f"{V1}/memory.limit_in_bytes": str(4 * MIB),
                f"{V1}/memory.usage_in_bytes": str(3 * MIB),
                f"{V1}/memory.stat": "inactive_file 7\ntotal_inactive_file 11\n",
            },
            MIB + 11,
        ),
    ],
)
def test_the_tightest_memory_limit_counts(tmp_path: Path, files: dict[str, str], free: float) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert headroom(tmp_path) == free


@pytest.mark.parametrize(("resident", "room"), [(8192, True), (8193, False)])
def test_room_is_as_much_as_the_process_holds(tmp_path: Path, resident: int, room: bool) -> None:
    for name, text in {**MACHINE, "proc/self/status": f"Name: x\nVmRSS:\t {resident} kB\n"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert room_for_another(tmp_path) is room


def test_this_machine_tells_its_memory() -> None:
    assert 0 < headroom() < float("inf")
