"""The hot connection over a real socket, in one process with an engine that can be held."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haldane_runtime.protocol import lingering
from haldane_runtime.protocol.fast import protocol
from haldane_runtime.protocol.fast.connection import HotConnection
from haldane_runtime.scheduling.policy import Limits
from runtime.tests.inprocess import LATER, infer, read, serving, until


def chunked(value: float) -> bytes:
    message = infer(value)
    head, body = message.split(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if b"Content-Length" not in line)
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


GET = b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_an_answer_is_what_the_general_path_answers() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(infer(1, "X-Request-ID: a"))
        hot = await read(reader)
        writer.write(chunked(1).replace(b"Host: h", b"Host: h\r\nX-Request-ID: a"))
        general = await read(reader)
        writer.close()
    for answer in (hot, general):
        del answer.document["parameters"]
    assert hot.document == general.document
    passing = {"date", "content-length"}
    assert {k: v for k, v in hot.headers.items() if k not in passing} == {
        k: v for k, v in general.headers.items() if k not in passing
    }
    assert "date" in hot.headers
    assert server.count(200) == 2


requests = st.lists(st.sampled_from(["hot", "get", "chunked", "broken"]), min_size=1, max_size=6)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(requests, st.lists(st.integers(1, 400), max_size=8))
def test_whatever_is_sent_and_however_it_is_cut_the_answers_come_in_order(kinds: list[str], cuts: list[int]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            reader, writer = await server.connect()
            stream = b""
            for number, kind in enumerate(kinds):
                messages: dict[str, Callable[[], bytes]] = {
                    "hot": lambda number=number: infer(number),  # type: ignore[misc]
                    "get": lambda: GET,
                    "chunked": lambda number=number: chunked(number),  # type: ignore[misc]
                    "broken": lambda: infer(0).replace(b'"FP32"', b'"FP31"'),
                }
                stream += messages[kind]()
            for cut in cuts:
                writer.write(stream[:cut])
                stream = stream[cut:]
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(stream)
            for number, kind in enumerate(kinds):
                answer = await read(reader)
                if kind == "get":
                    assert answer.document["name"] == "haldane"
                elif kind == "broken":
                    assert answer.status == 400
                    assert "expects FP32" in answer.document["error"]
                else:
                    assert answer.value() == 2 * number
            writer.close()

    asyncio.run(scenario())


async def test_many_requests_sent_ahead() -> None:
    async with serving(Limits(requests=4)) as server:
        reader, writer = await server.connect()
        writer.write(b"".join(infer(number) for number in range(1500)))
        for number in range(1500):
            assert (await read(reader)).value() == 2 * number
        writer.close()


async def test_requests_of_one_turn_share_a_run() -> None:
    async with serving() as server:
        server.engine.gate.clear()
        connections = [await server.connect() for _ in range(9)]
        connections[0][1].write(infer(0))
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        for number, (_, writer) in enumerate(connections[1:], 1):
            writer.write(infer(number))
        await until(lambda: server.plane.find().batcher.queued.requests == 8)
        server.engine.gate.set()
        answers = [await read(reader) for reader, _ in connections]
        for _, writer in connections:
            writer.close()
    assert [answer.value() for answer in answers] == [2 * number for number in range(9)]
    rows = server.plane.metrics.model("m").batch_rows
    assert (sum(rows.counts), rows.sum) == (2, 9)


async def test_a_client_that_left_is_not_run() -> None:
    async with serving() as server:
        server.engine.gate.clear()
        reader, writer = await server.connect()
        writer.write(infer(1))
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        _, leaving = await server.connect()
        leaving.write(infer(2))
        backlog = server.plane.find().batcher.queued
        await until(lambda: backlog.requests)
        leaving.transport.abort()
        await until(lambda: not backlog.requests)
        server.engine.gate.set()
        assert (await read(reader)).value() == 2
        writer.write(infer(3))
        assert (await read(reader)).value() == 6
        writer.close()
        assert server.engine.ran == [1, 3]
        assert server.count(499) == 1


async def test_a_full_queue_is_told_at_once_and_when_to_come_back() -> None:
    async with serving(Limits(requests=1)) as server:
        server.engine.gate.clear()
        connections = [await server.connect() for _ in range(3)]
        connections[0][1].write(infer(0))
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        connections[1][1].write(infer(1))
        await until(lambda: server.plane.find().batcher.queued.requests)
        for message in (infer(2), chunked(2), infer(2)[:-5]):
            reader, writer = await server.connect()
            writer.write(message)
            refused = await read(reader)
            assert refused.status == 503
            assert "the queue is full (1 requests)" in refused.document["error"]
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-haldane-version"] == "7"
            writer.close()
        server.engine.gate.set()
        assert [(await read(reader)).value() for reader, _ in connections[:2]] == [0, 2]
        for _, writer in connections:
            writer.close()


@pytest.mark.parametrize(("line", "status"), [((), 504), (("X-Request-Timeout: 0.2",), 408)])
async def test_deadlines(line: tuple[str, ...], status: int) -> None:
    async with serving(seconds=0.3) as server:
        server.engine.gate.clear()
        reader, writer = await server.connect()
        writer.write(infer(1, *line))
        answer = await read(reader)
        assert answer.status == status
        server.route.request_timeout = LATER
        server.engine.gate.set()
        writer.write(infer(2))
        assert (await read(reader)).value() == 4
        writer.close()


async def test_a_body_that_never_comes_ends_the_connection() -> None:
    async with serving(seconds=0.2) as server:
        reader, writer = await server.connect()
        writer.write(infer(1)[:-3])
        answer = await read(reader)
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert "did not arrive" in answer.document["error"]
        assert await reader.read() == b""
        writer.close()


async def test_a_body_that_stalls_on_the_general_path_ends_the_connection_too() -> None:
    async with serving(seconds=0.2) as server:
        reader, writer = await server.connect()
        writer.write(chunked(1)[:-9])
        answer = await read(reader)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert await reader.read() == b""
        writer.close()


HEAD = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: h\r\n"
DECLARED = HEAD % b"m" + b"Content-Length: 1000000000000\r\n\r\n"
CHUNKED = HEAD % b"m" + b"Transfer-Encoding: chunked\r\n\r\n" + b"7d0\r\n" + bytes(2000) + b"\r\n"
UNKNOWN = HEAD % b"nobody" + b"Transfer-Encoding: chunked\r\n\r\n"


async def pushed(writer: asyncio.StreamWriter) -> None:
    """Returns when the other side takes nothing more."""
    async with asyncio.timeout(LATER):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)


@pytest.mark.parametrize("message", [DECLARED, CHUNKED], ids=["declared", "chunked"])
@pytest.mark.parametrize(("seconds", "most"), [(LATER, 10_000), (0.05, 1 << 40)], ids=["by bytes", "by time"])
async def test_the_rest_of_a_body_over_the_limit_is_read_for_a_short_while_only(
    monkeypatch: pytest.MonkeyPatch, message: bytes, seconds: float, most: int
) -> None:
    monkeypatch.setattr(lingering, "LINGER_SECONDS", seconds)
    monkeypatch.setattr(lingering, "LINGER_BYTES", most)
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(message)
        answer = await read(reader)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        await pushed(writer)
        await until(lambda: server.count(413) == 1)
        writer.close()


async def test_a_client_that_sends_all_of_a_body_over_the_limit_reads_why() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD % b"m" + b"Content-Length: 8000000\r\n\r\n")
        for _ in range(8):
            writer.write(bytes(1_000_000))
            await writer.drain()
        assert (await read(reader)).status == 413
        assert await reader.read() == b""
        writer.close()
        reader, writer = await server.connect()
        writer.write(infer(1))
        assert (await read(reader)).value() == 2
        writer.close()


@pytest.mark.parametrize("push", [True, False], ids=["by bytes", "by time"])
async def test_a_body_that_nobody_asked_for_may_be_no_larger_and_slower_than_one_that_is_wanted(push: bool) -> None:
    async with serving(seconds=LATER if push else 0.2) as server:
        reader, writer = await server.connect()
        writer.write(UNKNOWN)
        assert (await read(reader)).status == 404
        if push:
            await pushed(writer)
        else:
            assert await reader.read() == b""
        writer.close()


async def test_a_connection_outlives_a_short_body_that_nobody_asked_for() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        for _ in range(3):
            writer.write(UNKNOWN)
            assert (await read(reader)).status == 404
            writer.write(b"190\r\n" + bytes(400) + b"\r\n0\r\n\r\n")
            writer.write(infer(1))
            assert (await read(reader)).value() == 2
        writer.close()


@pytest.mark.parametrize("size", [70_000, 100_000, 140_000, 200_000, 500_000])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_head_over_the_limit_is_told_however_it_comes(size: int, pieces: int) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        message = infer(1, "X: " + size * "a")
        step = -(-len(message) // pieces)
        for start in range(0, len(message), step):
            writer.write(message[start : start + step])
            await asyncio.sleep(0)
        answer = await read(reader)
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert "at most 65536 bytes" in answer.document["error"]
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize(("seconds", "most"), [(LATER, 10_000), (0.05, 1 << 40)], ids=["by bytes", "by time"])
async def test_after_a_refusal_little_is_read(monkeypatch: pytest.MonkeyPatch, seconds: float, most: int) -> None:
    monkeypatch.setattr(protocol, "ENDING_SECONDS", seconds)
    monkeypatch.setattr(protocol, "ENDING_BYTES", most)
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(b"hello\r\n\r\n")
        assert (await read(reader)).status == 400
        await pushed(writer)
        writer.close()


async def test_while_draining_every_answer_ends_its_connection() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(infer(1))
        assert "connection" not in (await read(reader)).headers
        server.plane.drain()
        writer.write(infer(2))
        answer = await read(reader)
        assert answer.value() == 4
        assert answer.headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()


async def test_a_shutdown_waits_for_the_answer_that_is_due() -> None:
    async with serving() as server:
        server.engine.gate.clear()
        reader, writer = await server.connect()
        writer.write(infer(1))
        idle, idle_writer = await server.connect()
        await asyncio.to_thread(server.engine.entered.wait, LATER)
        server.server.should_exit = True
        async with asyncio.timeout(LATER):
            assert await idle.read() == b""
        server.engine.gate.set()
        answer = await read(reader)
        assert answer.value() == 2
        assert answer.headers["connection"] == "close"
        writer.close()
        idle_writer.close()


async def test_idle_connections_are_closed() -> None:
    async with serving(keep_alive=1) as server:
        silent, silent_writer = await server.connect()
        reader, writer = await server.connect()
        writer.write(infer(1))
        assert (await read(reader)).value() == 2
        writer.write(GET)
        assert (await read(reader)).status == 200
        async with asyncio.timeout(LATER):
            assert await silent.read() == b""
            assert await reader.read() == b""
        silent_writer.close()
        writer.close()


async def test_outputs_that_cannot_be_written_are_an_error_and_not_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with serving() as server:
        reader, writer = await server.connect()
        monkeypatch.setattr("haldane_runtime.protocol.fast.encode.Encoder.encode", broken)
        writer.write(infer(1))
        answer = await read(reader)
        assert answer.status == 500
        assert answer.document == {"error": "internal error: ZeroDivisionError"}
        writer.close()


async def test_rows_are_hot_too() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        body = json.dumps({"instances": [[1], [2]]}).encode()
        for path in ("/v1/predict", "/v1/models/m:predict"):
            writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await read(reader)
            assert answer.document["predictions"] == [[2.0], [4.0]], answer
        assert server.server.server_state.total_requests == 2
        writer.close()
    assert server.engine.ran == [1, 2, 1, 2]
    np.testing.assert_array_equal(server.engine.ran[:2], [1, 2])


async def test_an_upgrade_never_makes_a_request_of_a_body() -> None:
    """Cut in its head, or sent behind another request: the body must not be taken for the next request."""
    hidden = b"GET /v2 HTTP/1.1\r\nHost: hidden\r\n\r\n"
    upgrading = (
        b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: %d\r\n\r\n" % len(hidden)
    )
    async with serving() as server:
        for pieces in (
            (upgrading[:30], upgrading[30:] + hidden),
            (GET + upgrading, hidden),
            (chunked(1) + upgrading, hidden),
        ):
            reader, writer = await server.connect()
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.05)
            answers = b""
            async with asyncio.timeout(LATER):
                with contextlib.suppress(ConnectionError, OSError):
                    writer.write_eof()
                    while piece := await reader.read(65536):
                        answers += piece
            assert answers.count(b'"name":"haldane"') <= pieces[0].startswith(b"GET")
            writer.close()


async def test_a_client_that_does_not_read_is_not_answered_without_end() -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        await until(lambda: server.server.server_state.connections)
        (connection,) = server.server.server_state.connections
        assert isinstance(connection, HotConnection)
        # What the kernel takes in its place would be megabytes of answers.
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        writer.write(b"".join(infer(number) for number in range(8_000)))
        await asyncio.sleep(0.5)
        assert connection.transport.get_write_buffer_size() < 1 << 20
        assert len(connection._ahead) < 1 << 20
        for number in range(8_000):
            assert (await read(reader)).value() == 2 * number
        writer.close()


async def test_half_a_head_is_not_waited_for_without_end() -> None:
    async with serving(seconds=0.3) as server:
        reader, writer = await server.connect()
        writer.write(infer(1)[:40])
        answer = await read(reader)
        assert answer.status == 408
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("before", [b"", GET, chunked(1)[:-5]])
async def test_a_head_has_a_limit(before: bytes) -> None:
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(before + (chunked(1)[-5:] if before and before is not GET else b""))
        writer.write(b"GET /v2 HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b"y" * 65536)
                await writer.drain()
        async with asyncio.timeout(LATER):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await until(lambda: not server.server.server_state.connections)
        writer.close()


async def test_unfinished_bodies_are_bounded_together_by_what_has_come() -> None:
    async with serving(Limits(bytes=1500)) as server:
        idle = [await server.connect() for _ in range(4)]
        for _, writer in idle:
            # A promise takes no room.
            writer.write(infer(1, length=900)[:95])
        first, first_writer = await server.connect()
        first_writer.write(infer(1, length=990)[:-3] + b" " * 600)
        await until(lambda: server.plane.intake.taken > 1000)
        reader, writer = await server.connect()
        writer.write(infer(2, length=900) + b" " * 500)
        refused = await read(reader)
        assert refused.status == 503
        assert "unfinished bodies" in refused.document["error"]
        for _, other in (*idle, (first, first_writer)):
            other.transport.abort()
        await until(lambda: not server.plane.intake.taken)
        writer.close()


async def test_who_reads_nothing_keeps_nothing() -> None:
    async with serving(keep_alive=1) as server:
        reader, writer = await server.connect()
        cast(asyncio.Transport, writer.transport).pause_reading()
        for number in range(20_000):
            writer.write(infer(number))
        await until(lambda: server.server.server_state.connections)
        await until(lambda: not server.server.server_state.connections)
        writer.transport.abort()
        reader.feed_eof()


async def test_a_slow_body_is_its_clients_fault_and_not_the_models_time() -> None:
    async with serving() as server:
        server.engine.gate.clear()
        reader, writer = await server.connect()
        message = infer(1)

        async def write_slowly(seconds: float) -> None:
            writer.write(message[:-2])
            await until(lambda: server.plane.intake.taken)
            server.clock.added += seconds
            writer.write(message[-2:])

        await write_slowly(LATER - 0.2)
        answer = await read(reader)
        assert answer.status == 408
        assert "took 29." in answer.document["error"]
        server.engine.gate.set()
        await write_slowly(LATER / 2)
        assert (await read(reader)).value() == 2
        duration = server.plane.metrics.model("m").duration
        assert sum(duration.counts) == 2
        assert duration.sum < LATER / 2
        writer.close()


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize("spaces", range(4))
async def test_a_large_tensor_in_pieces_wherever_it_lies_in_its_message(hot: bool, spaces: int) -> None:
    values = np.arange(50_000, dtype=np.float32).reshape(-1, 1)
    tensor = {"name": "x", "shape": values.shape, "datatype": "FP32", "parameters": {"binary_data_size": values.nbytes}}
    # A parameter is for the general path.
    document = {"inputs": [tensor]} | ({} if hot else {"parameters": {"note": 1}})
    line = json.dumps(document).encode() + b" " * spaces
    head = (
        f"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(line) + values.nbytes}\r\n"
        f"Inference-Header-Content-Length: {len(line)}\r\n\r\n"
    )
    message = head.encode() + line + values.tobytes()
    async with serving(request_bytes=1 << 20) as server:
        reader, writer = await server.connect()
        for _ in range(2):
            for start in range(0, len(message), 70_000):
                writer.write(message[start : start + 70_000])
                await writer.drain()
                await asyncio.sleep(0.01)
            answer = await read(reader)
            assert answer.status == 200, answer
            assert answer.document["outputs"][0]["data"] == (values * 2).ravel().tolist()
        writer.close()
    assert server.engine.ran == values.ravel().tolist() * 2
