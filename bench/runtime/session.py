"""One start of one server: prepared requests, a check of the answers, warm-up, then its cells."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from bench.runtime import loads, payloads, processes, protobuf
from bench.runtime.loads import Reading, Target
from bench.runtime.models import Model
from bench.runtime.payloads import Array, Form
from bench.runtime.plan import Cell
from bench.runtime.processes import Running
from bench.runtime.results import ECHO, ECHO_AND_RUN
from bench.runtime.servers import Launch, Server, environ
from bench.runtime.tools import Wrk

REQUESTS = 16
"""Different requests that a load sends by turns."""
CHECKED = 32
WARM_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Bench:
    """The load generators and where logs go."""

    wrk: Wrk
    load: Path
    logs: Path
    first: bool
    """Servers go before other programs of this machine."""


class Expected:
    """Inputs and what `session.run` makes of each, one row at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model
        # Large inputs: fewer of them, so that the check takes no longer than the load.
        count = CHECKED if np.prod(model.shape) < 10_000 else 4
        self.rows = list(model.rows(count))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
        names = [name for name, _, _ in model.outputs]
        self.answers: list[Mapping[str, Array]] = [
            dict(zip(names, session.run(names, {model.input: row}), strict=True)) for row in self.rows
        ]


class Session:
    """A running server with requests prepared for each of its wires."""

    def __init__(self, bench: Bench, server: Server, launch: Launch, running: Running, expected: Expected) -> None:
        self._bench, self._server, self._launch, self._running = bench, server, launch, running
        self._expected = expected
        self._targets: dict[str, Target] = {}

    def prepare(self, wire: str) -> Target:
        """Check the answers, once a wire; before the first load also warm the server up."""
        if wire not in self._targets:
            form, path = self._server.wires[wire]
            target = (
                self._grpc(form) if wire == "grpc" else self._http(form, path.format(model=self._launch.model.name))
            )
            if not self._targets:
                self._load(wire, target, 16, WARM_SECONDS)
            self._targets[wire] = target
        return self._targets[wire]

    def measure(self, cell: Cell, seconds: int) -> Reading:
        return self._load(cell.wire, self.prepare(cell.wire), cell.concurrency, seconds)

    def measure_open(self, rate: float, seconds: float) -> Reading:
        return loads.open_http(self._bench.load, self.prepare("json"), rate, seconds)

    def _load(self, wire: str, target: Target, concurrency: int, seconds: int) -> Reading:
        if wire == "grpc":
            return loads.closed_grpc(self._bench.load, target, concurrency, seconds)
        return loads.closed_http(self._bench.wrk, target, concurrency, seconds)

    def _http(self, form: Form, path: str) -> Target:
        launch, expected = self._launch, self._expected
        requests = [payloads.http_request(form, path, launch.model, row) for row in expected.rows]
        if self._server.name not in (ECHO, ECHO_AND_RUN):
            loads.check_http(launch.http, form, launch.model, requests, expected.answers)
        encoded = [request.encode(f"127.0.0.1:{launch.http}") for request in requests[:REQUESTS]]
        return Target(self._running, launch.http, self._file(form, encoded))

    def _grpc(self, form: Form) -> Target:
        launch, expected = self._launch, self._expected
        requests = [payloads.grpc_request(launch.model.name, launch.model, row) for row in expected.rows]
        loads.check_grpc(
            self._bench.load, Target(self._running, launch.grpc, self._file(form, requests)), expected.answers
        )
        return Target(self._running, launch.grpc, self._file(form, requests[:REQUESTS]))

    def _file(self, form: Form, requests: Sequence[bytes]) -> Path:
        path = self._launch.folder / f"{form.name.lower()}-{len(requests)}.requests"
        path.write_bytes(protobuf.frames(requests))
        return path


@contextmanager
def started(bench: Bench, server: Server, expected: Expected) -> Iterator[Session]:
    """Start the server for the model of `expected`, and end it with the block."""
    with tempfile.TemporaryDirectory(prefix=f"haldane-bench-{server.name}-") as folder:
        http, grpc, spare = processes.free_ports(3)
        launch = Launch(expected.model, http, grpc, spare, Path(folder), server.interpreter())
        start = server.start(launch)
        log = bench.logs / f"{server.name}-{expected.model.name}.log"
        with (
            processes.serve(
                start.command, environ(launch, start), launch.folder, log, (launch.http, server.ready)
            ) as running,
            processes.going_first(running.pid) if bench.first else nullcontext(),
        ):
            yield Session(bench, server, launch, running, expected)


def limit(model: Model, seconds: float) -> list[dict[str, float]]:
    """What `limit.py` prints, in a process of its own."""
    command = [sys.executable, "-m", "bench.runtime.limit", str(model.path), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    figures: list[dict[str, float]] = json.loads(done.stdout)
    return figures
