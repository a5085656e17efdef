"""Spoilt messages over gRPC: an answer in time, and never a status that blames the server."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

# Beyond this it hangs, also on a machine that has better things to do.
SECONDS = 60.0
# DEADLINE_EXCEEDED is for those that allow a microsecond.
EXPECTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
INFER = "/inference.GRPCInferenceService/ModelInfer"

CONTENTS = {
    "BOOL": "bool",
    "UINT8": "uint",
    "INT32": "int",
    "INT64": "int64",
    "FP32": "fp32",
    "FP16": "fp32",
    "BYTES": "bytes",
}


def message_of(draft: Any) -> Any:
    """The draft as a message, as far as its values fit the message's types."""
    message = service_pb2.ModelInferRequest(model_name=draft.model)
    document = draft.document if isinstance(draft.document, dict) else {}
    attempt(setattr, message, "id", document.get("id", ""))
    parameters(message.parameters, document.get("parameters"))
    for item in listed(document.get("inputs")):
        tensor = message.inputs.add()
        attempt(setattr, tensor, "name", item.get("name"))
        attempt(setattr, tensor, "datatype", item.get("datatype"))
        attempt(tensor.shape.extend, item.get("shape"))
        parameters(tensor.parameters, item.get("parameters"))
        if "data" in item:
            attempt(contents, tensor, CONTENTS.get(str(item.get("datatype")), "fp64"), item["data"])
    for item in listed(document.get("outputs")):
        wanted = message.outputs.add()
        attempt(setattr, wanted, "name", item.get("name"))
        parameters(wanted.parameters, item.get("parameters"))
    message.raw_input_contents.extend(draft.tails)
    return message


def contents(tensor: Any, kind: str, values: Any) -> None:
    if kind == "bytes":
        values = [str(value).encode(errors="replace") for value in values]
    getattr(tensor.contents, f"{kind}_contents").extend(values)


def listed(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def parameters(into: Any, values: Any) -> None:
    kinds: dict[type, str] = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    for name, value in values.items() if isinstance(values, dict) else ():
        if type(value) in kinds:
            attempt(setattr, into[name], kinds[type(value)], value)


def attempt(action: Callable[..., Any], *arguments: Any) -> None:
    """Values that the message's types cannot hold are left out."""
    with suppress(TypeError, ValueError, AttributeError, OverflowError):
        action(*arguments)


def messages(craft: Any) -> st.SearchStrategy[bytes]:
    @st.composite
    def strategy(draw: st.DrawFn) -> bytes:
        message: bytes = message_of(draw(craft.drafts)).SerializeToString()
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            message = craft.damage(draw, message)
        return message

    return strategy()


def test_spoilt_messages(server: Any, craft: Any, counted: Any) -> None:
    (line,) = [line for line in server.log if "gRPC on port" in line]
    channel = grpc.insecure_channel(f"127.0.0.1:{line.rsplit(' ', 1)[1]}")
    infer = channel.unary_unary(INFER)

    @settings(settings.get_profile("fuzz"))
    @given(messages(craft))
    def run(sent: bytes) -> None:
        started = time.monotonic()
        details, code = "", grpc.StatusCode.OK
        try:
            infer(sent, timeout=SECONDS)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
        seconds = time.monotonic() - started
        counted.add(code.name, seconds)
        assert seconds < SECONDS / 2
        assert code.name in EXPECTED, f"{code.name}: {details}"
        assert code is grpc.StatusCode.OK or details

    run()
    channel.close()
    assert server.process.poll() is None
    assert counted.outcomes["OK"]
    assert counted.outcomes["INVALID_ARGUMENT"]
