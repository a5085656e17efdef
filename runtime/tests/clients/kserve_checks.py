"""Run by `test_kserve.py` in an environment that has the unmodified `kserve`; prints `{check: error or null}`.

The arguments are the URL of REST and the address of gRPC.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import InferResponse, RequestedOutput

URL, GRPC = sys.argv[1:]
SECONDS = 30.0

Check = Callable[[], Awaitable[None]]
CHECKS: dict[str, Check] = {}

NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def client(protocol: str) -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol=protocol, timeout=SECONDS))


def tensor(name: str, datatype: str, array: Any, binary: bool) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def values(datatype: str) -> Any:
    if datatype == "BYTES":
        return np.array([[b"", b"a"], ["é".encode(), b"xyz"]], np.object_)
    return np.array([[0, 1], [1, 0]], NUMPY[datatype])


def plain(array: Any) -> list[Any]:
    """The values in a row; the client gives the elements of BYTES now as str, now as bytes."""
    return [value.decode() if isinstance(value, bytes) else value for value in array.reshape(-1).tolist()]


def expect(answer: InferResponse, datatype: str) -> None:
    output = answer.outputs[0]
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [2, 2]), output
    assert plain(output.as_numpy()) == plain(values(datatype)), output


async def infer(model: str, inputs: list[InferInput], **more: Any) -> InferResponse:
    async with client("v2") as kserve:
        return await kserve.infer(URL, InferRequest(model, inputs, **more), model_name=model)


async def round_trip(datatype: str, binary: bool) -> None:
    sent = tensor("x", datatype, values(datatype), binary)
    expect(await infer(f"identity_{datatype}", [sent], parameters={"binary_data_output": binary}), datatype)


async def raised(awaitable: Awaitable[Any], kind: type[Exception]) -> Any:
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@check
async def v2_binary() -> None:
    for datatype in NUMPY:
        await round_trip(datatype, binary=True)


@check
async def v2_json() -> None:
    for datatype in NUMPY:
        # The client itself refuses FP16 as JSON.
        if datatype != "FP16":
            await round_trip(datatype, binary=False)


@check
async def v2_several_inputs_and_a_subset_of_outputs() -> None:
    inputs = [
        tensor("a", "FP32", np.array([[1, 2], [3, 4]], np.float32), True),
        tensor("b", "INT64", np.array([[10], [20]]), False),
        tensor("s", "BYTES", np.array([[b"p"], [b"q"]], np.object_), True),
    ]
    wanted = [RequestedOutput("echo", {"binary_data": True}), RequestedOutput("sum", {"binary_data": False})]
    answer = await infer("several", inputs, request_id="k-1", request_outputs=wanted)
    assert answer.id == "k-1"
    assert answer.model_name == "several"
    echo, total = answer.outputs
    assert plain(echo.as_numpy()) == ["p", "q"]
    assert plain(total.as_numpy()) == [11, 12, 23, 24]


@check
async def v2_errors_have_their_sentence() -> None:
    for model, name, words in (("nobody", "x", "unknown model 'nobody'"), ("double", "z", "unknown input 'z'")):
        sent = tensor(name, "FP32", np.zeros((1, 3), np.float32), True)
        error = await raised(infer(model, [sent]), httpx.HTTPStatusError)
        assert words in str(error), error


@check
async def v2_health() -> None:
    async with client("v2") as kserve:
        assert await kserve.is_server_live(URL) is True
        assert await kserve.is_server_ready(URL) is True
        assert await kserve.is_model_ready(URL, "double") is True
        assert await kserve.is_model_ready(URL, "nobody") is False


@check
async def v1_predict() -> None:
    async with client("v1") as kserve:
        answer = await kserve.infer(URL, {"instances": [[1, 2, 3], [4, 5, 6]]}, model_name="double")
        assert answer["predictions"] == [[1, 4, 9], [16, 25, 36]], answer
        rows = [{"a": [1, 2], "b": 1, "s": "p"}, {"a": [3, 4], "b": 2, "s": "q"}]
        answer = await kserve.infer(URL, {"instances": rows}, model_name="several")
        assert answer["predictions"][1] == {"sum": [5, 6], "twice": [4], "echo": ["q"]}, answer


@check
async def v1_health() -> None:
    async with client("v1") as kserve:
        assert await kserve.is_server_live(URL) is True
        assert await kserve.is_model_ready(URL, "double") is True


@check
async def grpc_infer() -> None:
    async with InferenceGRPCClient(GRPC, timeout=SECONDS) as kserve:
        for datatype in NUMPY:
            request = InferRequest(f"identity_{datatype}", [tensor("x", datatype, values(datatype), True)])
            expect(await kserve.infer(request), datatype)


@check
async def grpc_health_and_errors() -> None:
    async with InferenceGRPCClient(GRPC, timeout=SECONDS) as kserve:
        assert await kserve.is_server_live() is True
        assert await kserve.is_server_ready() is True
        assert await kserve.is_model_ready("double") is True
        sent = tensor("x", "FP32", np.zeros((1, 3), np.float32), True)
        error = await raised(kserve.infer(InferRequest("nobody", [sent])), grpc.RpcError)
        assert error.code() is grpc.StatusCode.NOT_FOUND, error
        assert "unknown model 'nobody'" in error.details(), error


async def main() -> None:
    results: dict[str, str | None] = {}
    for name, function in CHECKS.items():
        try:
            await asyncio.wait_for(function(), 2 * SECONDS)
            results[name] = None
        except Exception:
            results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main())
