"""What no client library of the protocol would send, through grpcio's own channel; health and reflection by their own clients."""

import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2 as oip

SERVICE = "/inference.GRPCInferenceService"
SECONDS = 20.0


def call(channel: grpc.Channel, data: bytes, method: str = "ModelInfer", **options: Any) -> Any:
    """The answer's bytes and the call."""
    return channel.unary_unary(f"{SERVICE}/{method}").with_call(data, timeout=SECONDS, **options)


def refused(channel: grpc.Channel, data: bytes, method: str = "ModelInfer", **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, data, method, **options)
    error: grpc.RpcError = caught.value
    return error


def request(
    *, name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 3), raw: Any = (), model: str = "double"
) -> oip.ModelInferRequest:
    made = oip.ModelInferRequest(model_name=model)
    made.inputs.add(name=name, datatype=datatype, shape=shape)
    made.raw_input_contents.extend(raw)
    return made


def answered(channel: grpc.Channel, made: oip.ModelInferRequest) -> Any:
    response = oip.ModelInferResponse.FromString(call(channel, made.SerializeToString())[0])
    return np.frombuffer(response.raw_output_contents[0], np.float32)


CONTENTS = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-32768, 32767]),
    "INT32": ("int_contents", [-(1 << 31), (1 << 31) - 1]),
    "INT64": ("int64_contents", [-(1 << 63), (1 << 63) - 1]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 65535]),
    "UINT32": ("uint_contents", [0, (1 << 32) - 1]),
    "UINT64": ("uint64_contents", [0, (1 << 64) - 1]),
    "FP32": ("fp32_contents", [1.5, -0.25]),
    "FP64": ("fp64_contents", [1e300, -1e-300]),
    "BYTES": ("bytes_contents", ["é".encode(), b""]),
}
WIDTH = {"BOOL": "?", "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8"} | {
    "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents(channel: grpc.Channel, datatype: str) -> None:
    field, values = CONTENTS[datatype]
    made = request(datatype=datatype, shape=(1, 2), model=f"same-{datatype.lower()}")
    getattr(made.inputs[0].contents, field).extend(values)
    response = oip.ModelInferResponse.FromString(call(channel, made.SerializeToString())[0])
    (raw,) = response.raw_output_contents
    if datatype == "BYTES":
        assert raw == b"\2\0\0\0\xc3\xa9\0\0\0\0"
    else:
        assert np.frombuffer(raw, WIDTH[datatype]).tolist() == values


def test_typed_contents_of_no_elements(channel: grpc.Channel) -> None:
    assert answered(channel, request(shape=(0, 3))).size == 0


def with_contents(made: oip.ModelInferRequest, **contents: Any) -> oip.ModelInferRequest:
    for field, values in contents.items():
        getattr(made.inputs[0].contents, field).extend(values)
    return made


ROW = np.ones(3, np.float32).tobytes()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (with_contents(request(raw=[ROW]), fp32_contents=[1, 2, 3]), "both 'contents' and 'raw_input_contents'"),
        (request(raw=[ROW, ROW]), "2 elements for 1 inputs"),
        (request(raw=[ROW[:-1]]), "needs 12 bytes, got 11"),
        (request(raw=[b""]), "needs 12 bytes, got 0"),
        (request(), "needs 3 values in 'fp32_contents', got 0"),
        (with_contents(request(), fp32_contents=[1]), "needs 3 values in 'fp32_contents', got 1"),
        (with_contents(request(), fp64_contents=[1, 2, 3]), "must be in 'fp32_contents', not in 'fp64_contents'"),
        (request(shape=(-1, 3), raw=[ROW]), "whole numbers from 0 up"),
        (request(shape=(1 << 62, 3), raw=[ROW]), "needs"),
        (request(shape=(1,) * 70, raw=[ROW]), "70 dimensions"),
        (with_contents(request(datatype="INT8", shape=(1, 1), model="same-int8"), int_contents=[128]), "range of INT8"),
        (with_contents(request(datatype="FP16", shape=(1, 1), model="same-fp16"), fp32_contents=[1]), "cannot hold"),
        (request(datatype="BOOL", shape=(1, 1), raw=[b"\2"], model="same-bool"), "expects BOOL bytes"),
        (request(datatype="BYTES", shape=(1, 1), raw=[b"\xff\0\0\0a"], model="same-bytes"), "element 0"),
        (request(datatype="BYTES", shape=(1, 1), raw=[b"\1\0\0\0\xff"], model="same-bytes"), "not UTF-8"),
    ],
)
def test_tensors_that_do_not_fit(channel: grpc.Channel, made: oip.ModelInferRequest, message: str) -> None:
    error = refused(channel, made.SerializeToString())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in error.details()


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\0" * 100, bytes(range(256))])
def test_malformed_messages(channel: grpc.Channel, data: bytes) -> None:
    for method in ("ModelInfer", "ModelReady", "RepositoryIndex"):
        error = refused(channel, data, method)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "is not a valid inference." in error.details()


def test_unknown_methods(channel: grpc.Channel) -> None:
    for path in ("/inference.GRPCInferenceService/Nothing", "/nothing.At/All", "/"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"", timeout=SECONDS)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert path in caught.value.details()


def test_too_long_a_message(channel: grpc.Channel) -> None:
    error = refused(channel, bytes(33 << 20))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 33554432" in error.details()
    bomb = request(shape=(1, 3), raw=[bytes(40 << 20)]).SerializeToString()
    error = refused(channel, bomb, compression=grpc.Compression.Gzip)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "inflates to more" in error.details()


def test_a_long_message_for_no_model_is_refused_before_it_is_read(channel: grpc.Channel, server: Any) -> None:
    error = refused(channel, request(model="nothing", raw=[bytes(30 << 20)]).SerializeToString())
    assert error.code() == grpc.StatusCode.NOT_FOUND


def test_several_messages_for_one_answer(channel: grpc.Channel) -> None:
    made = request(raw=[ROW]).SerializeToString()
    stream = channel.stream_unary(f"{SERVICE}/ModelInfer")
    for messages, reason in (([], "none was sent"), ([made, made], "more were sent")):
        with pytest.raises(grpc.RpcError) as caught:
            stream(iter(messages), timeout=SECONDS)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert reason in caught.value.details()


def test_who_answered(channel: grpc.Channel) -> None:
    _, answer = call(channel, request(raw=[ROW]).SerializeToString())
    metadata = dict(answer.initial_metadata())
    assert metadata["x-haldane-revision"] == "abc123"
    assert metadata["x-haldane-version"] == "1"
    error = refused(channel, request().SerializeToString())
    metadata = dict(error.trailing_metadata())
    assert metadata["x-haldane-revision"] == "abc123"
    assert metadata["x-haldane-version"] == "1"


def test_an_error_has_the_id_of_its_request(channel: grpc.Channel) -> None:
    def request_id(data: bytes, *metadata: tuple[str, str]) -> str:
        error = refused(channel, data, metadata=metadata)
        return str(dict(error.trailing_metadata())["x-request-id"])

    made = request()
    assert request_id(made.SerializeToString(), ("x-request-id", "given")) == "given"
    assert request_id(b"\xff", ("x-request-id", "given")) == "given"
    assert request_id(made.SerializeToString()) != request_id(made.SerializeToString())
    made.id = "ö/1"
    assert request_id(made.SerializeToString(), ("x-request-id", "given")) == "%C3%B6/1"
    _, answer = call(channel, request(raw=[ROW]).SerializeToString())
    assert "x-request-id" not in dict((*answer.initial_metadata(), *answer.trailing_metadata()))


def test_a_message_in_any_words(channel: grpc.Channel) -> None:
    error = refused(channel, request(model="mod\u00e9l 100% \N{SNOWMAN}").SerializeToString())
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "unknown model 'mod\u00e9l 100% \N{SNOWMAN}'" in error.details()
    error = refused(channel, request(model="\N{SNOWMAN}" * 100_000).SerializeToString())
    assert error.code() == grpc.StatusCode.NOT_FOUND


def test_a_client_that_leaves_frees_the_queue(channel: grpc.Channel, server: Any) -> None:
    def slow(rounds: int) -> bytes:
        made = request(name="rounds", datatype="INT64", shape=(1,), model="work")
        made.raw_input_contents.append(np.array([rounds], np.int64).tobytes())
        return bytes(made.SerializeToString())

    infer = channel.unary_unary(f"{SERVICE}/ModelInfer")
    rounds = server.rounds_for(0.4, "work")
    calls = [infer.future(slow(rounds), timeout=SECONDS) for _ in range(12)]
    deadline = time.monotonic() + SECONDS
    while server.metric("haldane_queue_requests", model="work") < 6:
        assert time.monotonic() < deadline, "the requests did not reach the queue"
    for one in calls:
        one.cancel()
    infer(slow(1), timeout=SECONDS)
    assert server.metric("haldane_requests_total", model="work", code="499") >= 6
    assert server.metric("haldane_queue_requests", model="work") == 0


def test_metrics_count_by_the_codes_of_http(channel: grpc.Channel, server: Any) -> None:
    def counted(code: str) -> float:
        try:
            found: float = server.metric("haldane_requests_total", model="double", code=code)
        except AssertionError:
            return 0.0
        return found

    before = {code: counted(code) for code in ("200", "400")}
    call(channel, request(raw=[ROW]).SerializeToString())
    refused(channel, request().SerializeToString())
    assert {code: counted(code) - before[code] for code in before} == {"200": 1, "400": 1}


def test_health(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    for service, status in (("", "SERVING"), ("nothing", "SERVICE_UNKNOWN")):
        watch = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        watch.cancel()
    # Younger than the client's own stub.
    listed = channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=SECONDS)
    assert b"inference.GRPCInferenceService" in listed


def test_reflection(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert "ModelInfer" in service.methods_by_name
    known = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in service.methods:
        assert (method.input_type.full_name, method.output_type.full_name) == (
            known.methods_by_name[method.name].input_type.full_name,
            known.methods_by_name[method.name].output_type.full_name,
        )
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("no.Such")


def test_reflection_of_both_versions(channel: grpc.Channel) -> None:
    from grpc_reflection.v1alpha import reflection_pb2

    for version in ("v1", "v1alpha"):
        asked = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="nothing"),
            reflection_pb2.ServerReflectionRequest(file_by_filename="inference.proto"),
            reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelInferRequest"),
        ]
        answers = [
            reflection_pb2.ServerReflectionResponse.FromString(data).WhichOneof("message_response")
            for data in asked(iter([one.SerializeToString() for one in requests]), timeout=SECONDS)
        ]
        assert answers == [
            "list_services_response",
            "error_response",
            "file_descriptor_response",
            "all_extension_numbers_response",
        ]


def test_channels_come_and_go(address: str) -> None:
    """Connections that end in the middle of anything leave the server as it was."""

    def one() -> None:
        with grpc.insecure_channel(address) as short:
            infer = short.unary_unary(f"{SERVICE}/ModelInfer")
            for _ in range(50):
                infer.future(request(raw=[ROW]).SerializeToString(), timeout=SECONDS)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    with grpc.insecure_channel(address) as channel:
        assert answered(channel, request(raw=[ROW])).tolist() == [2, 2, 2]
