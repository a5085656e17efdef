"""ModelInfer's bytes to tensors and back: whatever comes is a tensor that fits or the client's fault."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import (
    NUMPY_DTYPE,
    Datatype,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.protocol.grpc.schema import ModelInferRequest, message_class
from haldane_runtime.protocol.grpc.tensors import TensorCodec, parse_infer
from haldane_runtime.protocol.grpc.wire import without_field

SIGNATURE = ModelSignature(
    (
        TensorSpec("a", Datatype.FP32, ("N", 2)),
        TensorSpec("s", Datatype.BYTES, ("N",)),
        TensorSpec("i", Datatype.INT8, ()),
    ),
    tuple(TensorSpec(datatype.lower(), datatype, ("N", "M")) for datatype in Datatype),
)
MODEL = ServedModel("mod\u00e9l", "7", "0" * 64, "cpu", SIGNATURE)
CODEC = TensorCodec(MODEL)

texts = st.sampled_from(["a", "s", "i", "FP32", "BYTES", "INT8", "bool", "timeout", ""]) | st.text(max_size=5)
shapes = st.lists(st.integers(-1, 4) | st.sampled_from([1 << 40, (1 << 63) - 1, -(1 << 63)]), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Not far from what fits, and at times it does."""
    message = ModelInferRequest(model_name=draw(texts), id=draw(texts))

    def parameters(holder: Any) -> None:
        for key in draw(st.lists(st.sampled_from(["timeout", "sequence_id", "classification", "x"]), max_size=1)):
            value = holder[key]
            kind, given_value = draw(
                st.sampled_from(
                    [
                        ("bool_param", True),
                        ("int64_param", -5),
                        ("string_param", "x"),
                        ("double_param", 1.5),
                        ("uint64_param", 7),
                    ]
                )
            )
            setattr(value, kind, given_value)

    if draw(st.booleans()):
        parameters(message.parameters)
    for name, datatype, fit in draw(
        st.permutations([("a", "FP32", [2, 2]), ("s", "BYTES", [2]), ("i", "INT8", [3])]).map(lambda items: items[:3])
    ):
        item = message.inputs.add(
            name=draw(st.just(name) | texts),
            datatype=draw(st.just(datatype) | texts),
            shape=draw(st.just(fit) | shapes),
        )
        if draw(st.integers(0, 5)) == 0:
            parameters(item.parameters)
        if draw(st.booleans()):
            item.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
        if draw(st.booleans()):
            item.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
        if draw(st.booleans()):
            item.contents.int_contents.extend(draw(st.lists(st.integers(-200, 200), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        output = message.outputs.add(name=draw(st.sampled_from(["fp32", "bool"]) | texts))
        if draw(st.booleans()):
            parameters(output.parameters)
    raw = st.sampled_from([bytes(16), b"\1\0\0\0a\1\0\0\0b", b"abc"]) | st.binary(max_size=20)
    message.raw_input_contents.extend(draw(st.lists(raw, max_size=3)))
    return message


def decoded(data: bytes) -> bool:
    try:
        found = CODEC.decode(*parse_infer(data))
    except RequestError as error:
        assert error.code is Code.INVALID  # noqa: PT017
        assert error.message  # noqa: PT017
        return False
    for spec in SIGNATURE.inputs:
        assert found.request.inputs[spec.name].dtype == NUMPY_DTYPE[spec.datatype]
    return True


@settings(max_examples=150)
@given(requests())
def test_requests_near_what_fits(message: Any) -> None:
    decoded(message.SerializeToString())


@settings(max_examples=150)
@given(requests(), st.data())
def test_requests_with_some_bytes_changed(message: Any, data: st.DataObject) -> None:
    changed = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            at = data.draw(st.integers(0, len(changed) - 1))
            changed[at] = data.draw(st.integers(0, 255))
    decoded(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    decoded(data)


def test_what_fits() -> None:
    message = ModelInferRequest()
    for name, datatype, shape in (("i", "INT8", [3]), ("a", "FP32", [2, 2]), ("s", "BYTES", [2])):
        message.inputs.add(name=name, datatype=datatype, shape=shape)
    message.raw_input_contents.extend([b"\x80\0\x7f", np.arange(4, dtype="<f4").tobytes(), b"\2\0\0\0\xc3\xa9\0\0\0\0"])
    message.parameters["timeout"].int64_param = 1_500_000
    found = CODEC.decode(*parse_infer(message.SerializeToString()))
    assert found.timeout == 1.5
    assert found.request.inputs["a"].tolist() == [[0, 1], [2, 3]]
    assert found.request.inputs["s"].tolist() == ["\u00e9", ""]
    assert found.request.inputs["i"].tolist() == [-128, 0, 127]
    assert found.request.outputs == tuple(spec.name for spec in SIGNATURE.outputs)


@pytest.mark.parametrize("datatype", Datatype)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (300, 2)])
def test_answers_are_what_protobuf_reads(datatype: Datatype, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    array = np.arange(count).astype(NUMPY_DTYPE[datatype]).reshape(shape)
    # Not contiguous, as an engine's outputs may be.
    response = InferResponse(MODEL, {datatype.lower(): array.T}, 0.0, 0.0)
    for request_id in ("", "request \N{SNOWMAN}" * 20):
        data = b"".join(CODEC.encode(response, request_id, 1.5))
        message = message_class("inference.ModelInferResponse").FromString(data)
        assert (message.model_name, message.model_version, message.id) == ("mod\u00e9l", "7", request_id)
        assert message.parameters["time_ms"].double_param == 1.5
        (output,) = message.outputs
        assert (output.name, output.datatype, tuple(output.shape)) == (datatype.lower(), datatype, shape[::-1])
        (raw,) = message.raw_output_contents
        if datatype is Datatype.BYTES:
            assert raw.count(b"\0\0\0") == count
        else:
            assert (np.frombuffer(raw, array.dtype).reshape(shape[::-1]) == array.T).all()


@given(requests(), st.integers(0, 3), st.data())
def test_raw_contents_taken_out_by_hand(message: Any, spoilt: int, data: st.DataObject) -> None:
    changed = bytearray(message.SerializeToString())
    for _ in range(spoilt if changed else 0):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    taken = without_field(memoryview(changed), 7)
    try:
        whole = ModelInferRequest.FromString(bytes(changed))
    except DecodeError:
        if taken is not None:
            # What is wrong is in the part that protobuf still reads.
            with pytest.raises(DecodeError):
                ModelInferRequest.FromString(taken[0])
        return
    if taken is None:
        assert spoilt
        return
    kept = ModelInferRequest.FromString(taken[0])
    kept.raw_input_contents.extend(map(bytes, taken[1]))
    assert kept == whole
