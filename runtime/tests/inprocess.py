"""A server of one model in the test's own process, over real sockets, with an engine that can be held."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import uvicorn

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.fast.connection import HotConnection
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.http import create_app
from haldane_runtime.scheduling.policy import Limits

LATER = 30.0
"""Seconds: nothing that must come takes as long on the busiest machine."""
REQUEST_BYTES = 1000
SIGNATURE = ModelSignature(
    (TensorSpec("x", Datatype.FP32, ("rows", 1)),), (TensorSpec("y", Datatype.FP32, ("rows", 1)),)
)


class Doubling:
    """y = 2 x, while the gate is open; fails below 0, and remembers the first value of every row it ran."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.ran: list[float] = []

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(LATER)
        if (inputs["x"] < 0).any():
            raise RequestError(Code.MODEL_FAILED, "the model failed below 0")
        self.ran.extend(inputs["x"].ravel().tolist())
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None: ...


class Clock:
    """The machine's, and what a test adds to it instead of waiting."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added


class Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class InProcess:
    """A server in this process, of a model `m` whose version is 7."""

    plane: DataPlane
    engine: Doubling
    route: HotRoute
    server: uvicorn.Server
    port: int
    clock: Clock

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def count(self, code: int) -> int:
        return self.plane.metrics.model("m").requests.get(code, 0)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    document: Any

    def value(self) -> float:
        """Of the one row that was asked for."""
        assert self.status == 200, self
        return float(self.document["outputs"][0]["data"][0])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LATER):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(
    limits: Limits | None = None, seconds: float = LATER, keep_alive: int = 60, request_bytes: int = REQUEST_BYTES
) -> AsyncIterator[InProcess]:
    """`seconds` is the longest request, `keep_alive` the longest idle time of a connection."""
    engine, clock = Doubling(), Clock()
    plane = DataPlane(Metrics("ns", "abc"), limits or Limits(), "m", clock=clock)
    plane.add(ServedModel("m", "7", "0" * 64, "cpu", SIGNATURE), engine, BatchProfile(True, "", 64, {}))
    plane.serve()
    route = HotRoute(plane, request_bytes, seconds, clock)
    config = uvicorn.Config(
        create_app(plane, request_bytes, seconds),
        http=cast(Any, partial(HotConnection, route)),
        lifespan="off",
        log_config=None,
        server_header=False,
        host="127.0.0.1",
        port=0,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=5,
    )
    server = Quiet(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield InProcess(plane, engine, route, server, server.servers[0].sockets[0].getsockname()[1], clock)
    finally:
        engine.gate.set()
        server.should_exit = True
        await task
        plane.close(LATER)


def infer(value: float, *lines: str, length: int | None = None) -> bytes:
    """A request for one row, with more header lines, and another content-length if one is given."""
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}).encode()
    head = ["POST /v2/models/m/infer HTTP/1.1", "Host: h", f"Content-Length: {length or len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


async def read(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(LATER):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(head[0].split()[1]), headers, json.loads(body))
