"""A real front process beside a server in this process; connections are moved by hand, as load would move them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from haldane_runtime.fronts.server import Fronts
from haldane_runtime.protocol.fast.connection import HotConnection
from runtime.tests.inprocess import LATER, REQUEST_BYTES, Answer, InProcess, infer, read, serving, until


@pytest.fixture(autouse=True)
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that can be held must not be run in the event loop's thread."""
    monkeypatch.setattr("haldane_runtime.scheduling.executor.INLINE_SECONDS", 0.0)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, value: float) -> None:
        self.writer.write(infer(value))

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def read(self) -> Answer:
        return await read(self.reader)

    async def value(self) -> float:
        return (await self.read()).value()


@dataclass
class Fronted(InProcess):
    """The server beside its front."""

    fronts: Fronts

    @property
    def here(self) -> list[HotConnection]:
        return [known for known in self.server.server_state.connections if isinstance(known, HotConnection)]

    async def client(self) -> Client:
        return Client(*await self.connect())

    async def moved(self) -> Client:
        """A connection that has asked once and is now the front's."""
        client = await self.client()
        client.ask(1)
        assert await client.value() == 2
        await until(lambda: self.fronts.ends)
        before = len(self.here)
        (connection,) = [known for known in self.here if known.client == client.writer.get_extra_info("sockname")[:2]]
        self.fronts.move(connection, self.fronts.ends[0])
        await until(lambda: len(self.here) == before - 1)
        return client


@contextlib.asynccontextmanager
async def running(seconds: float = LATER) -> AsyncIterator[Fronted]:
    """`seconds` is the longest request of a connection that was moved."""
    async with serving() as server:
        fronts = Fronts(1, server.plane, server.server, (REQUEST_BYTES, seconds, 60.0))
        try:
            yield Fronted(**vars(server), fronts=fronts)
        finally:
            server.engine.gate.set()
            server.server.should_exit = True
            await fronts.stop(LATER)


async def test_a_moved_connection_is_answered_the_same_and_counted() -> None:
    async with running() as server:
        here, moved = await server.client(), await server.moved()
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
        blocker, leaver = await server.client(), await server.moved()
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
        here, lost = await server.client(), await server.moved()
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
        client = await server.client()
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
