"""The unmodified `tritonclient.grpc` and `tritonclient.grpc.aio` against the real server, by the same tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from runtime.tests.blocking import blocking


@pytest.fixture
def sync_client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def asyncio_client(address: str) -> Iterator[Any]:
    with blocking(lambda: triton_aio.InferenceServerClient(address)) as client:
        yield client


@pytest.fixture(params=["sync_client", "asyncio_client"])
def client(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def tensor(name: str, array: Any, datatype: str) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def sample(datatype: str, shape: tuple[int, ...]) -> Any:
    """Values that a wrong width, sign or byte order would change."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        return np.array([f"wörd {n} \N{SNOWMAN}" for n in range(count)], np.object_).reshape(shape)
    if datatype == "BF16":
        return (np.arange(count) - 1.5).astype(ml_dtypes.bfloat16).reshape(shape)
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if datatype == "BOOL":
        return (np.arange(count) % 2).astype(dtype).reshape(shape)
    if dtype.kind == "f":
        return (np.arange(count) * 1.25 - 3).astype(dtype).reshape(shape)
    limits = np.iinfo(dtype)
    return np.array([limits.max, limits.min, 1, 2, 3, 4][:count] + [5] * (count - 6), dtype).reshape(shape)


DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES",
)  # fmt: skip


def texts(array: Any) -> Any:
    """The client gives BYTES back as bytes."""
    if array.dtype != np.object_:
        return array.tolist()
    return [value.decode() if isinstance(value, bytes) else value for value in array.reshape(-1)]


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize(
    ("model", "shapes"),
    # A single number or string, nothing at all, and as many dimensions as anybody has.
    [("same", [(1, 6), (3, 4), (0, 3)]), ("any", [(), (1,), (0,), (2, 0, 3), (2, 1, 3), (1,) * 8])],
)
def test_every_datatype_comes_back_the_same(
    client: Any, datatype: str, model: str, shapes: list[tuple[int, ...]]
) -> None:
    name = f"{model}-{datatype.lower()}"
    for shape in shapes:
        given = sample(datatype, shape)
        answer = client.infer(name, [tensor("x", given, datatype)])
        got = answer.as_numpy("y")
        assert got.shape == shape
        assert texts(got) == texts(given)
        assert answer.get_output("y").datatype == datatype
        assert answer.get_response().model_name == name
        assert answer.get_response().model_version == "1"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_strings(client: Any, algorithm: str) -> None:
    given = sample("BYTES", (20, 100))
    answer = client.infer("same-bytes", [tensor("x", given, "BYTES")], compression_algorithm=algorithm)
    assert texts(answer.as_numpy("y")) == texts(given)


@pytest.mark.parametrize(("mebibytes", "algorithm"), [(1, None), (5, None), (30, None), (5, "gzip"), (2, "deflate")])
def test_tensors_larger_than_every_window(client: Any, mebibytes: int, algorithm: str | None) -> None:
    """Windows are 64 KiB when a connection begins, messages 4 MiB in most clients unless they are told otherwise."""
    given = np.arange(mebibytes << 18, dtype=np.float32).reshape(-1, 1 << 18)
    got = client.infer("same-fp32", [tensor("x", given, "FP32")], compression_algorithm=algorithm).as_numpy("y")
    assert (got == given).all()


def test_several_inputs_and_outputs(client: Any) -> None:
    a, b, c = np.ones((2, 2), np.float32), np.full((2, 2), 3, np.float32), np.array([7, 8], np.int64)
    inputs = [tensor("c", c, "INT64"), tensor("b", b, "FP32"), tensor("a", a, "FP32")]
    answer = client.infer("arithmetic", inputs, request_id="r-1")
    assert [output.name for output in answer.get_response().outputs] == ["sum", "product", "same"]
    assert answer.as_numpy("sum").tolist() == [[4, 4], [4, 4]]
    assert answer.as_numpy("product").tolist() == [[3, 3], [3, 3]]
    assert answer.as_numpy("same").tolist() == [7, 8]
    assert answer.get_response().id == "r-1"
    assert answer.get_response().parameters["time_ms"].double_param > 0

    wanted = [triton.InferRequestedOutput("same"), triton.InferRequestedOutput("sum")]
    answer = client.infer("arithmetic", inputs, outputs=wanted)
    assert [output.name for output in answer.get_response().outputs] == ["same", "sum"]
    assert answer.as_numpy("product") is None


def test_parameters(client: Any) -> None:
    x = tensor("x", np.ones((1, 3), np.float32), "FP32")
    client.infer("double", [x], priority=3, timeout=5_000_000, parameters={"mine": "yes", "number": 3, "flag": True})
    with pytest.raises(InferenceServerException, match="sequences are not served") as caught:
        client.infer("double", [x], sequence_id=5, sequence_start=True)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="classification"):
        client.infer("double", [x], outputs=[triton.InferRequestedOutput("y", class_count=2)])
    lying = triton.InferInput("x", [1, 3], "FP32")
    lying.set_shared_memory("region", 12)
    with pytest.raises(InferenceServerException, match="shared memory"):
        client.infer("double", [lying])


def test_timeouts(client: Any, server: Any) -> None:
    slow = tensor("rounds", np.array([server.rounds_for(1.0, "work")], np.int64), "INT64")
    with pytest.raises(InferenceServerException) as caught:
        client.infer("work", [slow], client_timeout=0.2)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    with pytest.raises(InferenceServerException, match=r"within the 0\.1 s that the request allows") as caught:
        client.infer("work", [slow], timeout=100_000)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    quick = tensor("rounds", np.array([1], np.int64), "INT64")
    assert client.infer("work", [quick], client_timeout=8.0).as_numpy("sum") == 96


@pytest.mark.parametrize(
    ("model", "version", "name", "datatype", "array", "status", "message"),
    [
        ("double", "", "z", "FP32", np.ones((1, 3), np.float32), "INVALID_ARGUMENT", "unknown input 'z'"),
        ("double", "", "x", "FP64", np.ones((1, 3)), "INVALID_ARGUMENT", "got datatype 'FP64'"),
        ("double", "", "x", "FP32", np.ones((1, 4), np.float32), "INVALID_ARGUMENT", r"got shape \[1, 4\]"),
        ("double", "", "x", "FP32", np.ones((3,), np.float32), "INVALID_ARGUMENT", r"got shape \[3\]"),
        ("nothing", "", "x", "FP32", np.ones((1, 3), np.float32), "NOT_FOUND", "unknown model 'nothing'"),
        ("double", "9", "x", "FP32", np.ones((1, 3), np.float32), "NOT_FOUND", "no version '9'"),
        ("lookup", "", "i", "INT64", np.array([99], np.int64), "INTERNAL", "the model failed"),
    ],
)
def test_errors(
    client: Any, model: str, version: str, name: str, datatype: str, array: Any, status: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(model, [tensor(name, array, datatype)], model_version=version)
    assert caught.value.status() == f"StatusCode.{status}"


def test_wrong_outputs_and_inputs(client: Any) -> None:
    x = tensor("x", np.ones((1, 3), np.float32), "FP32")
    for arguments, message in (
        (([x, x], None), "given twice"),
        (([], None), "'inputs' is empty"),
        (([x], [triton.InferRequestedOutput("q")]), "unknown output 'q'"),
    ):
        with pytest.raises(InferenceServerException, match=message):
            client.infer("double", arguments[0], outputs=arguments[1])
    with pytest.raises(InferenceServerException, match="missing input 'b'"):
        client.infer("arithmetic", [tensor("a", np.ones((1, 2), np.float32), "FP32")])


def test_what_it_tells_of_itself(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "1")
    assert client.get_server_metadata().name == "haldane"
    # perf_analyzer reads the statistics only of a server that names them.
    assert "statistics" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("double", as_json=True)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]
    assert metadata["versions"] == ["1"]
    config = client.get_model_config("double", as_json=True)["config"]
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    client.infer("double", [tensor("x", np.ones((1, 3), np.float32), "FP32")])
    (stats,) = client.get_inference_statistics("double").model_stats
    assert stats.inference_stats.success.count >= 1
    assert len(client.get_inference_statistics().model_stats) > 10
    index = {model.name: model.state for model in client.get_model_repository_index().models}
    assert index["double"] == "READY"
    for asked in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
        with pytest.raises(InferenceServerException, match="unknown model 'nothing'"):
            asked("nothing")


def test_model_control_is_off_unless_asked_for(client: Any) -> None:
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="HALDANE_MODEL_CONTROL=explicit") as caught:
            change("double")
        assert caught.value.status() == "StatusCode.PERMISSION_DENIED"


def test_streaming_is_refused_clearly(sync_client: triton.InferenceServerClient) -> None:
    outcomes: list[Any] = []
    sync_client.start_stream(lambda result, error: outcomes.append((result, error)))
    sync_client.async_stream_infer("double", [tensor("x", np.ones((1, 3), np.float32), "FP32")])
    sync_client.stop_stream()
    ((result, error),) = outcomes
    assert result is None
    assert "ModelStreamInfer is not served" in str(error)
    assert error.status() == "StatusCode.UNIMPLEMENTED"


async def test_streaming_is_refused_to_asyncio_clearly(address: str) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "double", "inputs": [tensor("x", np.ones((1, 3), np.float32), "FP32")]}

    async with triton_aio.InferenceServerClient(address) as client:
        # This client hands on what gRPC raises.
        with pytest.raises(grpc.aio.AioRpcError, match="ModelStreamInfer is not served") as caught:
            await anext(aiter(client.stream_infer(questions())))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_is_not_served_says_so(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="there is no method") as caught:
        client.get_trace_settings()
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


async def test_many_at_a_time(address: str) -> None:
    """One connection, more calls than the server takes at once."""
    async with triton_aio.InferenceServerClient(address) as client:

        async def one(number: int) -> float:
            x = tensor("x", np.full((1, 3), number, np.float32), "FP32")
            answer = await client.infer("double", [x], request_id=str(number))
            assert answer.get_response().id == str(number)
            return float(answer.as_numpy("y")[0, 0])

        # Fewer than may wait, in waves that together are more streams than a connection may have open.
        for wave in range(3):
            got = await asyncio.gather(*(one(wave * 600 + n) for n in range(600)))
            assert got == [2.0 * (wave * 600 + n) for n in range(600)]
