"""One measurement: a load on a server that runs, and what came of it."""

import http.client
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from bench.runtime import protobuf
from bench.runtime.models import Model
from bench.runtime.payloads import Array, Form, Request, differs, http_answer
from bench.runtime.processes import BenchError, Running, busy_seconds
from bench.runtime.tools import HERE, Wrk

OPEN_CONNECTIONS = 128
TIMEOUT_SECONDS = 10
SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One run of a load. Latencies in seconds; `rate` counts good answers a second; the processor times are cores in use."""

    rate: float
    p50: float
    p90: float
    p99: float
    requests: int
    errors: Mapping[str, int]
    server_cores: float = 0.0
    load_cores: float = 0.0
    foreign_cores: float = 0.0
    """What the machine did besides: other programs, interrupts, time that the host took away."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go: a running server and prepared requests in a file."""

    running: Running
    port: int
    requests: Path


def closed_http(wrk: Wrk, target: Target, concurrency: int, seconds: float) -> Reading:
    """wrk with one thread: each connection sends the next request when its answer has come."""
    command = [
        str(wrk.program),
        "-t1",
        f"-c{concurrency}",
        f"-d{max(1, round(seconds))}s",
        f"--timeout={TIMEOUT_SECONDS}s",
    ]
    command += ["-s", str(HERE / "replay.lua"), f"http://127.0.0.1:{target.port}/"]
    environ = dict(wrk.environ) | {"REQUESTS": str(target.requests)}
    return _measured(command, environ, target.running, seconds, parse_wrk)


def open_http(load: Path, target: Target, rate: float, seconds: float) -> Reading:
    """Requests at a fixed rate, whatever the answers do; a latency counts from the instant at which the request was due."""
    command = [str(load), "http", "-address", f"127.0.0.1:{target.port}", "-requests", str(target.requests)]
    command += ["-connections", str(OPEN_CONNECTIONS), "-rate", f"{rate:.3f}", "-seconds", str(seconds)]
    return _measured(
        [*command, "-timeout", str(TIMEOUT_SECONDS)], dict(os.environ), target.running, seconds, parse_load
    )


def closed_grpc(load: Path, target: Target, concurrency: int, seconds: float) -> Reading:
    """Callers of grpc-go, eight to a connection."""
    command = [str(load), "grpc", "-address", f"127.0.0.1:{target.port}", "-requests", str(target.requests)]
    command += ["-connections", str(-(-concurrency // 8)), "-concurrency", str(concurrency), "-seconds", str(seconds)]
    return _measured(
        [*command, "-timeout", str(TIMEOUT_SECONDS)], dict(os.environ), target.running, seconds, parse_load
    )


def parse_wrk(output: str) -> Reading:
    """The JSON line of replay.lua, the last of what wrk prints.

    Raises:
        ValueError: when there is none.
    """
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "")
    if not line:
        raise ValueError(f"wrk printed no figures: {output[-500:]}")
    seen = json.loads(line)
    errors = {name: seen[name] for name in ("connect", "read", "write", "status", "timeout") if seen[name]}
    # wrk counts an answer with an error status among the requests, but no socket error.
    good = max(0, seen["requests"] - seen["status"])
    seconds = seen["microseconds"] / 1e6
    latencies = {name: seen[name] / 1e6 for name in ("p50", "p90", "p99")}
    return Reading(rate=good / seconds, **latencies, requests=seen["requests"], errors=errors)


def parse_load(output: str) -> Reading:
    """The JSON object of the Go load generator.

    Raises:
        ValueError: when it is none.
    """
    seen = json.loads(output)
    errors = dict(seen["errors"])
    if seen["unsent"]:
        errors["unsent"] = seen["unsent"]
    latencies = {name: seen["latency"].get(name, float("inf")) for name in ("p50", "p90", "p99")}
    return Reading(seen["requests"] / seen["seconds"], **latencies, requests=seen["requests"], errors=errors)


def _measured(
    command: Sequence[str],
    environ: Mapping[str, str],
    running: Running,
    seconds: float,
    parse: Callable[[str], Reading],
) -> Reading:
    before, own, all_before = running.processor_seconds(), _children_seconds(), busy_seconds()
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=seconds + SLACK_SECONDS, check=False
    )
    elapsed = time.perf_counter() - began
    server, load = running.processor_seconds() - before, _children_seconds() - own
    foreign = busy_seconds() - all_before - server - load
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-1000:]}")
    shares = [max(0.0, share) / elapsed for share in (server, load, foreign)]
    return replace(parse(done.stdout), server_cores=shares[0], load_cores=shares[1], foreign_cores=shares[2])


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def check_http(
    port: int, form: Form, model: Model, requests: Sequence[Request], expected: Sequence[Mapping[str, Array]]
) -> None:
    """Send different requests at the same time and hold each answer against `session.run`: also mixed-up answers are found.

    Raises:
        BenchError: naming what is wrong with which answer.
    """

    def ask(request: Request) -> dict[str, Array]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", request.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{request.path} did not answer: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchError(f"{request.path} answered {answer.status}: {body[:300]!r}")
        try:
            return http_answer(form, model, {name.lower(): value for name, value in answer.getheaders()}, body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{request.path} answered what is no prediction ({error!r}): {body[:300]!r}") from error

    with ThreadPoolExecutor(len(requests)) as pool:
        _compare(expected, list(pool.map(ask, requests)), outputs=1 if form is Form.RAW else None)


def check_grpc(load: Path, target: Target, expected: Sequence[Mapping[str, Array]]) -> None:
    """The same over gRPC."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers"
        command = [str(load), "grpc", "-address", f"127.0.0.1:{target.port}", "-requests", str(target.requests)]
        command += ["-connections", "4", "-answers", str(answers)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLACK_SECONDS, check=False)
        if done.returncode:
            raise BenchError(f"gRPC: {done.stderr[-1000:]}")
        _compare(expected, [protobuf.infer_response(answer) for answer in protobuf.unframe(answers.read_bytes())])


def _compare(
    expected: Sequence[Mapping[str, Array]], answers: Sequence[Mapping[str, Array]], outputs: int | None = None
) -> None:
    for number, (right, answer) in enumerate(zip(expected, answers, strict=True)):
        if wrong := differs(right, answer, outputs):
            raise BenchError(f"the answer to request {number} is wrong: {wrong}")
