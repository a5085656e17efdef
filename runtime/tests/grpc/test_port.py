"""The real port, spoken to by bare sockets: what is no gRPC, what comes at once, and who does not listen."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import hpack
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ErrorCode, Setting

SECONDS = 20.0
FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(address: str) -> Iterator[Connect]:
    host, port = address.split(":")
    opened: list[socket.socket] = []

    def make() -> socket.socket:
        opened.append(socket.create_connection((host, int(port)), SECONDS))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def all_of(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    data = b""
    while piece := client.recv(1 << 16):
        data += piece
    return data


def requests(count: int, model: str, rows: int, first: int = 1) -> bytes:
    width = 3 if model == "double" else 1 << 18
    made = oip.ModelInferRequest(model_name=model)
    made.inputs.add(name="x", datatype="FP32", shape=(rows, width))
    made.raw_input_contents.append(np.ones((rows, width), np.float32).tobytes())
    message = made.SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    block = hpack.Encoder().encode(FIELDS)
    sent = b""
    for number in range(first, first + 2 * count, 2):
        sent += frames.frame(frames.HEADERS, frames.END_HEADERS, number, block)
        for start in range(0, len(body), 1 << 14):
            ended = frames.END_STREAM if start + (1 << 14) >= len(body) else 0
            sent += frames.frame(frames.DATA, ended, number, body[start : start + (1 << 14)])
    return sent


def test_requests_of_one_read_are_run_together(connect: Connect, server: Any) -> None:
    def runs() -> float:
        found: float = server.metric("haldane_inference_seconds_count", model="double")
        return found

    before = runs()
    client = connect()
    client.sendall(frames.PREFACE + frames.settings({}) + requests(16, "double", 1))
    data = b""
    # Each answer names the model.
    while data.count(b"double") < 16:
        data += client.recv(1 << 16)
    # All of them in one run, unless the bytes came in two reads.
    assert runs() - before <= 2
    assert server.metric("haldane_batch_rows_sum", model="double") >= 16


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"GET /v2/health/ready HTTP/1.1\r\nHost: here\r\n\r\n", b"HTTP/1.1 505 HTTP Version Not Supported"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"gRPC over HTTP/2 without TLS"),
        (frames.PREFACE + b"\xff" * 9, b"the first frame must be SETTINGS"),
    ],
)
def test_what_is_no_grpc_is_told_so(connect: Connect, sent: bytes, told: bytes) -> None:
    client = connect()
    client.sendall(sent)
    assert told in all_of(client)


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [("GET", "text/plain", b"405"), ("POST", "application/json", b"415"), ("POST", "application/grpc-web", b"415")],
)
def test_http_2_that_is_no_grpc(connect: Connect, method: str, content_type: str, status: bytes) -> None:
    client = connect()
    fields = [(":method", method), *FIELDS[1:4], ("content-type", content_type)]
    flags = frames.END_HEADERS | frames.END_STREAM
    head = frames.frame(frames.HEADERS, flags, 1, hpack.Encoder().encode(fields))
    client.sendall(frames.PREFACE + frames.settings({}) + head + frames.goaway(0, ErrorCode.NO_ERROR))
    told = all_of(client)
    assert status in told
    assert b"This port speaks gRPC" in told


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_content_types_of_grpc(connect: Connect, content_type: str) -> None:
    client = connect()
    head = hpack.Encoder().encode([*FIELDS[:4], ("content-type", content_type)])
    client.sendall(
        frames.PREFACE
        + frames.settings({})
        + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, head)
        + frames.goaway(0, ErrorCode.NO_ERROR)
    )
    assert b"but none was sent" in all_of(client)


def ping_for_ever(client: socket.socket) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        client.sendall(frames.frame(frames.PING, 0, 0, b"too late"))
        time.sleep(0.05)


def test_who_still_sends_when_it_is_over_gets_no_reset(connect: Connect) -> None:
    """The connection ends by the client's close, or by the server's after a while: a reset may overtake last frames."""
    client = connect()
    client.sendall(frames.PREFACE + frames.settings({}) + frames.goaway(0, ErrorCode.NO_ERROR))
    all_of(client)
    client.sendall(frames.frame(frames.PING, 0, 0, b"too late"))
    assert client.recv(1) == b""
    # One that stays is not kept.
    with pytest.raises(ConnectionError):
        ping_for_ever(client)


def test_who_does_not_listen_holds_up_nobody(connect: Connect, server: Any, client: Any) -> None:
    """Answers of 1 MiB that their client gives no window: they are kept up to a bound, and others are served."""
    deaf = connect()
    deaf.settimeout(2.0)
    deaf.sendall(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    refused = ErrorCode.REFUSED_STREAM.to_bytes(4, "big")
    heard = b""
    for first in range(1, 1200, 2):
        deaf.sendall(requests(1, "same-fp32", 1, first))
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            heard += deaf.recv(1 << 16)
        deaf.settimeout(2.0)
        if refused in heard:
            break
    assert refused in heard
    assert client.is_server_ready()
    # As much as may wait, what is on its way, and as much again for the copies.
    assert server.metric("process_resident_memory_bytes") < 600 << 20
