"""A real front process beside a server in this process; connections are moved by hand, as load would move them."""

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import uvicorn

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.fronts.server import Fronts
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.fast.connection import HotConnection
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.http import create_app

LATER = 30.0
SIGNATURE = ModelSignature(
    (TensorSpec("x", Datatype.FP32, ("rows", 1)),), (TensorSpec("y", Datatype.FP32, ("rows", 1)),)
)


@pytest.fixture(autouse=True)
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that can be held must not be run in the event loop's thread."""
    monkeypatch.setattr("haldane_runtime.scheduling.executor.INLINE_SECONDS", 0.0)


class Doubling:
    """y = 2 x while the gate is open; fails below 0."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(LATER)
        if (inputs["x"] < 0).any():
            raise RequestError(Code.MODEL_FAILED, "the model failed below 0")
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None: ...


class Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LATER):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    document: Any


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, value: float) -> None:
        body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]})
        self.send(f"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n{body}")

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def read(self) -> Answer:
        async with asyncio.timeout(LATER):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, json.loads(body))

    async def value(self) -> float:
        answer = await self.read()
        assert answer.status == 200, answer
        return float(answer.document["outputs"][0]["data"][0])


@dataclass
class Running:
    plane: DataPlane
    engine: Doubling
    server: uvicorn.Server
    fronts: Fronts
    port: int

    def count(self, code: int) -> int:
        return self.plane.metrics.model("m").requests.get(code, 0)

    @property
    def here(self) -> list[HotConnection]:
        return [known for known in self.server.server_state.connections if isinstance(known, HotConnection)]

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def moved(self) -> Client:
        """A connection that has asked once and is now the front's."""
        client = await self.connect()
        client.ask(1)
        assert await client.value() == 2
        await until(lambda: self.fronts.ends)
        before = len(self.here)
        (connection,) = [known for known in self.here if known.client == client.writer.get_extra_info("sockname")[:2]]
        self.fronts.move(connection, self.fronts.ends[0])
        await until(lambda: len(self.here) == before - 1)
        return client


@contextlib.asynccontextmanager
async def running(seconds: float = LATER) -> AsyncIterator[Running]:
    engine = Doubling()
    plane = DataPlane(Metrics("ns", "abc"), expected="m")
    plane.add(ServedModel("m", "7", "0" * 64, "cpu", SIGNATURE), engine, BatchProfile(True, "", 64, {}))
    plane.serve()
    config = uvicorn.Config(
        create_app(plane, 1000, seconds),
        http=cast(Any, partial(HotConnection, HotRoute(plane, 1000, seconds))),
        lifespan="off",
        log_config=None,
        server_header=False,
        host="127.0.0.1",
        port=0,
        timeout_graceful_shutdown=5,
    )
    server = Quiet(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    fronts = Fronts(1, plane, server, (1000, seconds, 60.0))
    try:
        yield Running(plane, engine, server, fronts, server.servers[0].sockets[0].getsockname()[1])
    finally:
        engine.gate.set()
        server.should_exit = True
        await asyncio.gather(task, fronts.stop(LATER))
        plane.close(LATER)


async def test_a_moved_connection_is_answered_the_same_and_counted() -> None:
    async with running() as server:
        here, moved = await server.connect(), await server.moved()
        for client in (here, moved):
            client.ask(21)
        answers = [await client.read() for client in (here, moved)]
        for answer in answers:
            assert answer.document["outputs"][0]["data"] == [42]
            assert answer.document.pop("id")
            del answer.document["parameters"]
            assert answer.headers.pop("date")
            del answer.headers["content-length"]
        assert answers[0] == answers[1]
        await until(lambda: server.count(200) == 3)
        assert server.plane.metrics.model("m").duration.sum > 0


async def test_a_request_out_of_the_ordinary_brings_it_back() -> None:
    async with running() as server:
        client = await server.moved()
        client.send("GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.read()).document["name"] == "haldane"
        assert len(server.here) == 1
        assert not server.here[0].movable(0.0)
        client.ask(4)
        assert await client.value() == 8


async def test_requests_sent_ahead_keep_their_order_across_processes() -> None:
    async with running() as server:
        client = await server.moved()
        for value in range(30):
            client.ask(value)
        client.send("GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        for value in range(30, 60):
            client.ask(value)
        for value in range(60):
            if value == 30:
                assert (await client.read()).document["name"] == "haldane"
            assert await client.value() == 2 * value


async def test_errors_come_across_and_bad_bodies_come_back() -> None:
    async with running() as server:
        client = await server.moved()
        client.ask(-1)
        failed = await client.read()
        assert (failed.status, failed.document) == (500, {"error": "the model failed below 0"})
        await until(lambda: server.count(500) == 1)
        client.send("POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        assert (await client.read()).status == 400
        assert server.count(400) == 1


async def test_a_client_that_leaves_a_front_frees_its_place() -> None:
    async with running() as server:
        blocker, leaver = await server.connect(), await server.moved()
        server.engine.gate.clear()
        server.engine.entered.clear()
        blocker.ask(1)
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        leaver.ask(2)
        backlog = server.plane.find().batcher.queued
        await until(lambda: backlog.requests == 1)
        leaver.writer.transport.abort()
        await until(lambda: backlog.requests == 0)
        server.engine.gate.set()
        assert await blocker.value() == 2
        await until(lambda: server.count(499) == 1)


async def test_a_deadline_is_the_servers_to_keep() -> None:
    async with running(seconds=0.3) as server:
        client = await server.moved()
        server.engine.gate.clear()
        client.ask(1)
        assert (await client.read()).status == 504
        await until(lambda: server.count(504) == 1)


async def test_models_that_come_and_go_are_known_to_the_front() -> None:
    async with running() as server:
        client = await server.moved()
        gone = server.plane.remove("m", "7")
        assert gone is not None
        client.ask(1)
        answer = await client.read()
        assert answer.status == 404
        assert "unknown model 'm'" in answer.document["error"]
        await gone.unload(LATER)


async def test_a_front_that_dies_is_replaced_and_takes_only_its_own_connections(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("haldane_runtime.fronts.server.FIRST_RESTART_SECONDS", 0.01)
    async with running() as server:
        here, lost = await server.connect(), await server.moved()
        first = server.fronts.ends[0]
        os.kill(first.process.pid, signal.SIGKILL)
        async with asyncio.timeout(LATER):
            with contextlib.suppress(ConnectionError):
                assert await lost.reader.read() == b""
        here.ask(3)
        assert await here.value() == 6
        await until(lambda: server.fronts.ends and server.fronts.ends[0] is not first)
        again = await server.moved()
        again.ask(5)
        assert await again.value() == 10


async def test_a_stop_lets_a_front_finish_and_ends_it() -> None:
    async with running() as server:
        waiting, idle = await server.moved(), await server.moved()
        process = server.fronts.ends[0].process
        server.engine.gate.clear()
        server.engine.entered.clear()
        waiting.ask(6)
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        server.plane.drain()
        stopping = asyncio.create_task(server.fronts.stop(LATER))
        async with asyncio.timeout(LATER):
            assert await idle.reader.read() == b""
        server.engine.gate.set()
        answer = await waiting.read()
        assert answer.document["outputs"][0]["data"] == [12]
        assert answer.headers["connection"] == "close"
        await asyncio.wait_for(stopping, LATER)
        assert process.returncode == 0
        assert not server.fronts.ends


async def test_a_front_outlives_the_drain_until_it_is_told_to_stop() -> None:
    async with running() as server:
        client = await server.moved()
        end = server.fronts.ends[0]
        server.plane.drain()
        client.ask(1)
        answer = await client.read()
        assert answer.headers["connection"] == "close"
        assert await client.reader.read() == b""
        await asyncio.sleep(0.3)
        assert end.process.poll() is None
        assert server.fronts.ends == [end]


async def test_a_connection_for_a_front_that_is_gone_stays() -> None:
    async with running() as server:
        client = await server.connect()
        client.ask(1)
        assert await client.value() == 2
        await until(lambda: server.fronts.ends)
        end = server.fronts.ends[0]
        end.process.kill()
        await until(lambda: not end.opened)
        server.fronts.move(server.here[0], end)
        client.ask(2)
        assert await client.value() == 4


async def test_a_front_ends_with_its_server() -> None:
    async with running() as server:
        await server.moved()
        end = server.fronts.ends[0]
        assert end._transport is not None
        end._transport.abort()
        assert await asyncio.to_thread(end.process.wait, LATER) == 0


def test_the_real_server_starts_and_ends_its_fronts(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.double()}", HALDANE_FRONTS="2").ready()
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    for _ in range(20):
        assert server.client.post("/v2/models/model/infer", json=body).json()["outputs"][0]["data"] == [2, 4, 6]
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
