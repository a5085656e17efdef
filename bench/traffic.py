"""A mix of requests over HTTP and gRPC, in groups over connections that come and go; some leave without reading.

Nothing of the answers is looked at but how each ended, so that this client is not what a run waits for.
"""

import asyncio
import gzip
import json
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import hpack
import numpy as np

from bench.openloop import post
from bench.runtime import protobuf
from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import Setting

FEATURES: Final = 128
# Of each kind; so many requests travel together on one.
HTTP_CONNECTIONS, GRPC_CONNECTIONS = 6, 2
PIPELINE: Final = 32
# Groups after which a connection is closed, and the share of groups whose answers nobody reads.
GROUPS_A_CONNECTION: Final = 200
LEAVING: Final = 0.005
ANSWER_SECONDS: Final = 60.0

_STATUS = b"HTTP/1.1 "
_LAST_BYTES = len(_STATUS) + 2
_WINDOW = (1 << 31) - 1
# The statuses that a memory run may meet, by those of HTTP; any other is a fault.
_CODES = {b"0": 200, b"3": 400}

_HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "bench"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "bench"),
    ("grpc-timeout", "30S"),
]

Mix = Sequence[tuple[float, bytes]]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the runtime listens on 127.0.0.1."""

    http: int
    grpc: int


def http_mix() -> Mix:
    """Whole requests, each with its share."""
    random_rows = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random_rows.normal(size=(count, FEATURES)).round(4).astype(np.float32)

    def document(count: int) -> bytes:
        tensor = {"name": "x", "shape": [count, FEATURES], "datatype": "FP32", "data": rows(count).ravel().tolist()}
        return json.dumps({"inputs": [tensor]}).encode()

    def infer(count: int) -> bytes:
        return post("/v2/models/model/infer", document(count))

    def zipped(count: int) -> bytes:
        body = gzip.compress(document(count))
        return post("/v2/models/model/infer", body, content_encoding="gzip", accept_encoding="gzip")

    def binary(count: int) -> bytes:
        data = rows(count).tobytes()
        tensor = {
            "name": "x",
            "shape": [count, FEATURES],
            "datatype": "FP32",
            "parameters": {"binary_data_size": len(data)},
        }
        head = json.dumps(
            {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
        ).encode()
        size = str(len(head))
        octets = "application/octet-stream"
        return post("/v2/models/model/infer", head + data, octets, inference_header_content_length=size)

    def predict(count: int) -> bytes:
        return post("/v1/models/model:predict", json.dumps({"instances": rows(count).tolist()}).encode())

    return [
        (0.430, infer(1)),
        (0.200, predict(1)),
        (0.310, binary(1)),
        (0.015, infer(16)),
        (0.015, binary(64)),
        (0.002, binary(512)),
        (0.015, zipped(1)),
        (0.005, zipped(64)),
        (0.003, post("/v1/models/model:predict", b'{"instances": [[1, 2]]}')),
        (0.003, post("/v2/models/model/infer", b'{"inputs": [')),
        (0.002, b"GET /v2/models/model HTTP/1.1\r\nhost: bench\r\n\r\n"),
    ]


def grpc_mix() -> Mix:
    """ModelInferRequest messages, each with its share."""
    random_rows = np.random.default_rng(0)

    def infer(count: int, name: str = "x") -> bytes:
        return protobuf.infer_request("model", name, random_rows.normal(size=(count, FEATURES)).astype(np.float32))

    return [(0.960, infer(1)), (0.015, infer(16)), (0.015, infer(64)), (0.004, infer(512)), (0.006, infer(1, "z"))]


class _Connection(asyncio.Protocol, ABC):
    """One connection; each answer is counted by how it ended."""

    def __init__(self, codes: Counter[int]) -> None:
        self._codes = codes
        self._wanted = 0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def send(self, group: Sequence[bytes]) -> "asyncio.Future[None]":
        """Done once each of the group is answered."""
        self._wanted += len(group)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._encoded(group))
        return self._done

    def leave(self) -> None:
        """Close, whatever has not been answered."""
        if self._done is not None:
            self._done.cancel()
        self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the runtime closed a connection"))

    @abstractmethod
    def _encoded(self, group: Sequence[bytes]) -> bytes:
        """As it goes over the wire."""

    def _count(self, code: int) -> None:
        self._codes[code] += 1
        self._wanted -= 1
        if self._wanted <= 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)


class _Http(_Connection):
    """HTTP/1.1, pipelined: the answers are told apart by their status lines."""

    def __init__(self, codes: Counter[int]) -> None:
        super().__init__(codes)
        self._tail = b""

    def _encoded(self, group: Sequence[bytes]) -> bytes:
        return b"".join(group)

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        place = data.find(_STATUS)
        while 0 <= place <= len(data) - _LAST_BYTES - 1:
            self._count(int(data[place + 9 : place + 12]))
            place = data.find(_STATUS, place + _LAST_BYTES)
        # A status line that is cut off is counted with what comes next, and none twice.
        self._tail = data[place:] if place >= 0 else data[-(len(_STATUS) - 1) :]


class _Grpc(_Connection):
    """gRPC: a stream for each message, headers by the dynamic table as clients have them, answers counted by their trailers."""

    def __init__(self, codes: Counter[int]) -> None:
        super().__init__(codes)
        self._buffer = bytearray()
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._stream = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        own = frames.settings({Setting.INITIAL_WINDOW_SIZE: _WINDOW})
        more = frames.window_update(0, _WINDOW - frames.DEFAULT_WINDOW)
        self._transport.write(frames.PREFACE + own + more)

    def _encoded(self, group: Sequence[bytes]) -> bytes:
        out = []
        for message in group:
            self._stream += 2
            head = self._encoder.encode(_HEADERS)
            out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, head))
            body = b"\0" + len(message).to_bytes(4) + message
            for start in range(0, len(body), frames.SMALLEST_MAX_FRAME):
                part = body[start : start + frames.SMALLEST_MAX_FRAME]
                is_last = start + len(part) == len(body)
                out.append(frames.frame(frames.DATA, frames.END_STREAM if is_last else 0, self._stream, part))
        return b"".join(out)

    def data_received(self, data: bytes) -> None:
        buffer, place = self._buffer, 0
        buffer += data
        while len(buffer) - place >= frames.HEADER_BYTES:
            high, low, kind, flags, _ = frames.unpack_header(buffer, place)
            end = place + frames.HEADER_BYTES + (high << 8 | low)
            if len(buffer) < end:
                break
            self._frame(kind, flags, bytes(buffer[place + frames.HEADER_BYTES : end]))
            place = end
        del buffer[:place]

    def _frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.HEADERS:
            headers = dict(self._decoder.decode(payload, raw=True))
            if flags & frames.END_STREAM:
                self._count(_CODES.get(headers.get(b"grpc-status", b""), 500))
        elif kind == frames.RST_STREAM:
            self._count(500)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._transport.write(frames.SETTINGS_ACK)
        elif kind == frames.PING and not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))


async def send(
    ports: Ports, count: int, codes: Counter[int], progress: Callable[[int], None], leaving: float = LEAVING
) -> None:
    """Send so many requests over all connections, each group answered before the next one of its connection goes.

    `leaving` is the share of the groups after which the connection is closed without reading.
    """
    left = count

    async def client(kind: type[_Connection], port: int, mix: Mix, seed: int) -> None:
        nonlocal left
        choice = random.Random(seed)
        loop = asyncio.get_running_loop()
        shares, requests = zip(*mix, strict=True)
        while left > 0:
            _, connection = await loop.create_connection(lambda: kind(codes), "127.0.0.1", port)
            for _ in range(GROUPS_A_CONNECTION):
                left -= PIPELINE
                answered = connection.send(choice.choices(requests, shares, k=PIPELINE))
                if choice.random() < leaving:
                    progress(PIPELINE)
                    break
                async with asyncio.timeout(ANSWER_SECONDS):
                    await answered
                progress(PIPELINE)
                if left <= 0:
                    break
            connection.leave()

    http, grpc = http_mix(), grpc_mix()
    await asyncio.gather(
        *(client(_Http, ports.http, http, seed) for seed in range(HTTP_CONNECTIONS)),
        *(client(_Grpc, ports.grpc, grpc, seed) for seed in range(GRPC_CONNECTIONS)),
    )
