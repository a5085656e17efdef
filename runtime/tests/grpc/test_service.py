"""The methods on a data plane of their own, without a socket: a server that loads, serves and drains."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import hpack
import numpy as np
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.types import Datatype, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.connection import Connection
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.reader import FrameReader
from haldane_runtime.protocol.grpc.schema import message_class
from haldane_runtime.protocol.grpc.server import GrpcServer
from haldane_runtime.protocol.grpc.status import Status

SERVICE = "/inference.GRPCInferenceService"
HEALTH = "/grpc.health.v1.Health"
SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N",)),), (TensorSpec("y", Datatype.FP32, ("N",)),))


class Twice:
    """An engine: y = 2 x."""

    signature = SIGNATURE
    device = "cpu"

    def run(self, inputs: Any, outputs: Any) -> dict[str, Any]:
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        pass


class Direct:
    """A client on the other end of a connection without a socket."""

    def __init__(self, server: GrpcServer) -> None:
        self.connection = Connection(server, Limits(), time.monotonic(), lambda: None)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.reader = FrameReader(Limits())
        self.reader.started = True
        self.next = 1
        self.connection.receive(frames.PREFACE + frames.settings({}), time.monotonic())
        self.read()

    def read(self) -> tuple[dict[str, str], list[bytes]]:
        """All fields and all messages that have come."""
        fields: dict[str, str] = {}
        body = b""
        for kind, _, _, payload in self.reader.feed(b"".join(self.connection.take()[0])):
            if kind == frames.HEADERS:
                fields |= {str(name): str(value) for name, value in self.decoder.decode(bytes(payload))}
            elif kind == frames.DATA:
                body += payload
        messages = []
        while body:
            end = 5 + int.from_bytes(body[1:5], "big")
            messages.append(body[5:end])
            body = body[end:]
        return fields, messages

    def open(self, path: str, *metadata: tuple[str, str]) -> None:
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")]
        block = self.encoder.encode([*fields, *metadata])
        head = frames.frame(frames.HEADERS, 0, self.next, block[:16_000])
        head += frames.frame(frames.CONTINUATION, frames.END_HEADERS, self.next, block[16_000:])
        self.connection.receive(head, time.monotonic())

    def ask(self, path: str, message: Any = None, *metadata: tuple[str, str]) -> tuple[dict[str, str], list[bytes]]:
        self.open(path, *metadata)
        data = message.SerializeToString() if message is not None else b""
        return self.send(b"\0" + len(data).to_bytes(4, "big") + data, frames.END_STREAM)

    def send(self, body: bytes, flags: int) -> tuple[dict[str, str], list[bytes]]:
        self.connection.receive(frames.frame(frames.DATA, flags, self.next, body), time.monotonic())
        if flags & frames.END_STREAM:
            self.next += 2
        return self.read()


@pytest.fixture
async def plane() -> Any:
    plane = DataPlane(Metrics("tests", "rev-1"), expected="m")
    yield plane
    plane.close(1.0)


@pytest.fixture
async def direct(plane: DataPlane) -> Direct:
    repository: Any = SimpleNamespace()
    return Direct(GrpcServer(plane, repository, Limits(), 10.0))


def serve(plane: DataPlane) -> None:
    model = ServedModel("m", "1", "0" * 64, "cpu", SIGNATURE)
    plane.add(model, Twice(), BatchProfile(True, "it merges", 8, {1: 1e-5, 8: 1e-5}))
    plane.serve()


def kind(name: str) -> Any:
    return message_class(f"inference.{name}")


def infer() -> Any:
    made = kind("ModelInferRequest")(model_name="m")
    made.inputs.add(name="x", datatype="FP32", shape=(2,))
    made.raw_input_contents.append(np.array([1, 2], np.float32).tobytes())
    return made


async def test_while_the_model_loads(direct: Direct) -> None:
    _, (ready,) = direct.ask(f"{SERVICE}/ServerReady")
    assert ready == b""
    _, (live,) = direct.ask(f"{SERVICE}/ServerLive")
    assert kind("ServerLiveResponse").FromString(live).live
    _, (ready,) = direct.ask(f"{SERVICE}/ModelReady", kind("ModelReadyRequest")(name="m"))
    assert ready == b""
    fields, messages = direct.ask(f"{SERVICE}/ModelInfer", infer())
    assert messages == []
    assert fields["grpc-status"] == str(int(Status.UNAVAILABLE))
    assert fields["grpc-message"] == "model 'm' is still loading; try again later"
    assert int(fields["grpc-retry-pushback-ms"]) > 0
    assert fields["x-haldane-revision"] == "rev-1"
    fields, _ = direct.ask(f"{SERVICE}/ModelReady", kind("ModelReadyRequest")(name="other"))
    assert fields["grpc-status"] == str(int(Status.NOT_FOUND))


async def test_health_follows_the_server(direct: Direct, plane: DataPlane) -> None:
    request = message_class("grpc.health.v1.HealthCheckRequest")
    _, told = direct.ask(f"{HEALTH}/Watch", request())
    assert told == [b"\x08\x02"]
    direct.connection.tick(time.monotonic())
    assert direct.read()[1] == []
    serve(plane)
    direct.connection.tick(time.monotonic())
    assert direct.read()[1] == [b"\x08\x01"]
    assert direct.ask(f"{HEALTH}/Check", request())[1] == [b"\x08\x01"]
    plane.drain()
    direct.connection.tick(time.monotonic())
    assert direct.read()[1] == [b"\x08\x02"]
    direct.connection.stop()
    assert direct.read()[0]["grpc-status"] == str(int(Status.UNAVAILABLE))
    assert not direct.connection.streams


@pytest.mark.parametrize(("body", "flags"), [(b"\0" * 5, 0), (b"", frames.END_STREAM)], ids=["message", "end"])
async def test_a_stream_is_refused_once_its_client_has_written(direct: Direct, body: bytes, flags: int) -> None:
    """grpcio, refused while it writes its first message, reports that it could not write instead of why."""
    direct.open(f"{SERVICE}/ModelStreamInfer")
    assert direct.read() == ({}, [])
    fields, messages = direct.send(body, flags)
    assert messages == []
    assert fields["grpc-status"] == str(int(Status.UNIMPLEMENTED))
    assert fields["grpc-message"].startswith("ModelStreamInfer is not served: ")
    assert not direct.connection.streams


async def test_calls_of_all_clients_together_are_bounded(plane: DataPlane) -> None:
    repository: Any = SimpleNamespace()
    server = GrpcServer(plane, repository, Limits(calls=2), 10.0)
    one, other = Direct(server), Direct(server)
    request = message_class("grpc.health.v1.HealthCheckRequest")()
    assert one.ask(f"{HEALTH}/Watch", request)[1]
    assert other.ask(f"{HEALTH}/Watch", request)[1]
    for client in (one, other):
        assert client.ask(f"{HEALTH}/Watch", request) == ({}, [])
        assert len(client.connection.streams) == 1
    one.connection.lost()
    assert other.ask(f"{HEALTH}/Watch", request)[1]


async def test_infer_and_its_statistics(direct: Direct, plane: DataPlane) -> None:
    serve(plane)
    assert direct.ask(f"{SERVICE}/ModelInfer", infer()) == ({}, [])
    for _ in range(100):
        await asyncio.sleep(0.01)
        if direct.connection.out:
            break
    fields, (data,) = direct.read()
    assert fields["grpc-status"] == "0"
    assert fields["x-haldane-version"] == "1"
    answer = kind("ModelInferResponse").FromString(data)
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2, 4]
    assert answer.id
    _, (data,) = direct.ask(f"{SERVICE}/ModelStatistics", kind("ModelStatisticsRequest")())
    (stats,) = kind("ModelStatisticsResponse").FromString(data).model_stats
    assert (stats.name, stats.inference_count, stats.inference_stats.success.count) == ("m", 2, 1)
    _, (data,) = direct.ask(f"{SERVICE}/ModelConfig", kind("ModelConfigRequest")(name="m"))
    assert kind("ModelConfigResponse").FromString(data).config.max_batch_size == 8


async def test_too_much_metadata_of_one_call_is_no_matter_of_the_others(direct: Direct, plane: DataPlane) -> None:
    direct.ask(f"{HEALTH}/Watch", message_class("grpc.health.v1.HealthCheckRequest")())
    for _ in range(3):
        # The long field is sent once and then stands in the table, of which it takes the most.
        metadata = [("x-token", "a" * 3000)] * 6
        fields, messages = direct.ask(f"{SERVICE}/ServerLive", None, *metadata)
        assert messages == []
        assert fields["grpc-status"] == str(int(Status.RESOURCE_EXHAUSTED))
        assert fields["x-haldane-revision"] == "rev-1"
        assert direct.ask(f"{SERVICE}/ServerLive", None, ("x-other", "b"))[0]["grpc-status"] == "0"
    assert len(direct.connection.streams) == 1
    plane.serve()
    direct.connection.tick(time.monotonic())
    assert direct.read()[1] == [b"\x08\x01"]
