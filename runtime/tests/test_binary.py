"""The binary extension: what follows the JSON, and a body that is all data."""

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import (
    NUMPY_DTYPE,
    Datatype,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.protocol.codec import decode_infer, encode_infer, header_length

X = TensorSpec("x", Datatype.FP32, ("N", 3))
S = TensorSpec("s", Datatype.BYTES, ("",))
FLAGS = TensorSpec("b", Datatype.BOOL, ("",))
Y = TensorSpec("y", Datatype.FP32, ("N", 3))
SIGNATURE = ModelSignature((X,), (Y,))
DATA = np.array([[1, 2.5, 3]], "<f4").tobytes()


def one(spec: TensorSpec) -> ModelSignature:
    return ModelSignature((spec,), (Y,))


def tensor(spec: TensorSpec, shape: list[int], size: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": shape,
        "datatype": str(spec.datatype),
        "parameters": {"binary_data_size": size},
    } | more


def body(data: bytes, *tensors: dict[str, Any], pad: int = 0, **more: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": list(tensors)} | more).encode() + b" " * pad
    return head + data, len(head)


def refusal(sent: tuple[bytes, int | None], signature: ModelSignature = SIGNATURE) -> str:
    with pytest.raises(RequestError) as caught:
        decode_infer(*sent, signature)
    assert caught.value.code is Code.INVALID
    return caught.value.message


@pytest.mark.parametrize("pad", range(5))
def test_the_data_follows_the_json_at_any_offset(pad: int) -> None:
    decoded = decode_infer(*body(DATA, tensor(X, [1, 3], 12), pad=pad), SIGNATURE)
    array = decoded.request.inputs["x"]
    assert array.tolist() == [[1, 2.5, 3]]
    assert array.flags.aligned


def test_aligned_data_is_not_copied() -> None:
    head = json.dumps({"inputs": [tensor(X, [1, 3], 12)]}).encode()
    head += b" " * (-len(head) % 8)
    sent = head + DATA
    array = decode_infer(sent, len(head), SIGNATURE).request.inputs["x"]
    assert np.shares_memory(array, np.frombuffer(sent, np.uint8))
    view = memoryview(bytearray(sent))
    assert np.shares_memory(decode_infer(view, len(head), SIGNATURE).request.inputs["x"], np.frombuffer(view, np.uint8))


def test_several_inputs_lie_one_after_the_other_and_json_may_be_among_them() -> None:
    signature = ModelSignature((X, S, FLAGS), (Y,))
    strings = struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0) + struct.pack("<I", 3) + "aé".encode()
    tensors = (
        tensor(S, [3], len(strings)),
        {"name": "b", "shape": [2], "datatype": "BOOL", "data": [True, False]},
        tensor(X, [1, 3], 12),
    )
    inputs = decode_infer(*body(strings + DATA, *tensors), signature).request.inputs
    assert inputs["s"].tolist() == ["ab", "", "aé"]
    assert inputs["b"].tolist() == [True, False]
    assert inputs["x"].tolist() == [[1, 2.5, 3]]


def test_raw_numbers_may_be_nan_and_infinite() -> None:
    data = np.array([[np.nan, np.inf, -np.inf]], "<f4").tobytes()
    array = decode_infer(*body(data, tensor(X, [1, 3], 12)), SIGNATURE).request.inputs["x"]
    assert np.isnan(array[0, 0])
    assert array[0, 1:].tolist() == [math.inf, -math.inf]


ELEMENT = struct.pack("<I", 2) + b"ab"


@pytest.mark.parametrize(
    ("spec", "sent", "message"),
    [
        (X, body(DATA, tensor(X, [1, 3], 8)), "of shape [1, 3] and datatype FP32 needs 12 bytes, got 8"),
        (X, body(DATA * 2, tensor(X, [1, 3], 24)), "needs 12 bytes, got 24"),
        (X, body(b"", tensor(X, [1, 3], 0)), "needs 12 bytes, got 0"),
        (
            X,
            body(DATA[:-1], tensor(X, [1, 3], 12)),
            "input 'x' is said to have 12 bytes of binary data, but 11 are left",
        ),
        (X, body(DATA, tensor(X, [1, 3], 2**62)), "but 12 are left for it"),
        (X, body(DATA + b"!", tensor(X, [1, 3], 12)), "the body holds 1 bytes more than the inputs' binary_data_size"),
        (X, body(DATA, tensor(X, [1, 3], "12")), "'binary_data_size' of input 'x' must be a whole number of bytes"),
        (X, body(DATA, tensor(X, [1, 3], 12.0)), "must be a whole number of bytes"),
        (X, body(DATA, tensor(X, [1, 3], -12)), "must be a whole number of bytes"),
        (X, body(DATA, tensor(X, [1, 3], 12, data=[1, 2, 3])), "has both 'data' and 'binary_data_size'"),
        (X, body(DATA, tensor(X, [1, 3], 12), tensor(X, [1, 3], 12)), "input 'x' is given twice"),
        (X, body(DATA, tensor(X, [1, 3], 12, name="z")), "unknown input 'z'"),
        (X, body(DATA, tensor(X, [3, 1], 12)), "got shape [3, 1]"),
        (X, body(DATA, tensor(X, [1, 3], 12, datatype="INT32")), 'got datatype "INT32"'),
        (X, body(DATA, tensor(X, [2**40, 3], 12)), "needs 13194139533312 bytes, got 12"),
        (X, body(DATA, {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}), "holds 12 bytes more"),
        (X, (DATA, 13), "the header Inference-Header-Content-Length says 13 bytes, but the body has 12"),
        (X, (DATA, 12), "not valid JSON"),
        (X, (b"", 1), "says 1 bytes, but the body has 0"),
        (X, (b"[]" + DATA, 2), "must be a JSON object"),
        (X, body(DATA, tensor(X, [0, 2**62], 12)), "got shape [0, 4611686018427387904]"),
        (S, body(ELEMENT, tensor(S, [2], 6)), "needs at least 8 bytes, a length before each of its 2 elements, got 6"),
        (S, body(ELEMENT + b"!!", tensor(S, [2], 8)), "ends before the length of element 1"),
        (S, body(ELEMENT[:-1], tensor(S, [1], 5)), "ends within element 0: its length says 2 bytes, but 1 are left"),
        (S, body(b"\xff" * 4, tensor(S, [1], 4)), "its length says 4294967295 bytes, but 0 are left"),
        (S, body(ELEMENT * 2, tensor(S, [1], 12)), "holds 6 bytes more than its 1 elements"),
        (S, body(b"\1\0\0\0\xff", tensor(S, [1], 5)), "holds bytes that are not UTF-8"),
        (FLAGS, body(b"\0\1\2", tensor(FLAGS, [3], 3)), "input 'b' expects BOOL bytes, which are 0 or 1"),
    ],
)
def test_malformed_binary_data_is_refused_with_its_input(
    spec: TensorSpec, sent: tuple[bytes, int], message: str
) -> None:
    assert message in refusal(sent, one(spec))


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "x", " 1", "0x1", "٣", "9" * 20, "1" * 5000])
def test_a_header_that_is_no_count_is_refused(value: str) -> None:
    with pytest.raises(RequestError, match="must be a whole number of bytes from 0 up"):
        header_length(value)


def test_the_header_may_be_absent() -> None:
    assert header_length(None) is None
    assert header_length("0") == 0
    assert header_length("120") == 120


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        (("N", 3), 12, [1, 3]),
        (("N", 3), 36, [3, 3]),
        ((1, 3), 12, [1, 3]),
        (("N", "T"), 0, [1, 0]),
        (("N", "M"), 20, [1, 5]),
        (("N", "M", 2), 24, [1, 3, 2]),
        (("", 0), 0, [0, 0]),
        ((), 4, []),
        ((), 12, [3]),
    ],
)
def test_a_body_without_json_is_the_only_input(shape: tuple[int | str, ...], size: int, expected: list[int]) -> None:
    spec = TensorSpec("x", Datatype.FP32, shape)
    decoded = decode_infer(bytes(size), 0, one(spec))
    assert list(decoded.request.inputs["x"].shape) == expected
    assert decoded.binary == {"y"}
    assert decoded.request.outputs == ("y",)
    assert decoded.id is None


def test_a_body_without_json_is_one_string() -> None:
    assert decode_infer("aé".encode(), 0, one(S)).request.inputs["s"].tolist() == ["aé"]
    pair = TensorSpec("s", Datatype.BYTES, ("N", 2))
    assert "a body without a header holds one string" in refusal((b"ab", 0), one(pair))
    assert "not UTF-8" in refusal((b"\xff", 0), one(S))


@pytest.mark.parametrize(
    ("signature", "size", "message"),
    [
        (ModelSignature((X, S), (Y,)), 12, "the model takes 'x' (FP32 of shape [-1, 3]), 's' (BYTES of shape [-1])"),
        (one(X), 13, "of shape [1, 3] and datatype FP32 needs 12 bytes, got 13"),
        (one(X), 16, "needs 12 bytes, got 16"),
        (one(X), 8, "of shape [1, 3] and datatype FP32 needs 12 bytes, got 8"),
        (one(X), 0, "of shape [1, 3] and datatype FP32 needs 12 bytes, got 0"),
        (one(TensorSpec("x", Datatype.FP32, ("N",))), 0, "of shape [1] and datatype FP32 needs 4 bytes, got 0"),
        (one(TensorSpec("x", Datatype.FP32, (2, 3))), 12, "of shape [2, 3] and datatype FP32 needs 24 bytes, got 12"),
        (one(TensorSpec("x", Datatype.FP32, ("N", 0))), 4, "needs 0 bytes, got 4"),
    ],
)
def test_a_body_without_json_must_fit_the_model(signature: ModelSignature, size: int, message: str) -> None:
    assert message in refusal((bytes(size), 0), signature)


SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Datatype, Any]:
    datatype = draw(st.sampled_from(list(Datatype)))
    elements = st.text(max_size=5) if datatype is Datatype.BYTES else None
    return datatype, draw(npst.arrays(NUMPY_DTYPE[datatype], SHAPES, elements=elements))


@given(st.lists(arrays(), min_size=1, max_size=4), st.integers(0, 7))
@settings(max_examples=300)
def test_what_was_encoded_is_decoded(drawn: list[tuple[Datatype, Any]], pad: int) -> None:
    specs = tuple(TensorSpec(f"x{i}", kind, ("",) * array.ndim) for i, (kind, array) in enumerate(drawn))
    model = ServedModel("m", "1", "d", "cpu", ModelSignature(specs, specs))
    outputs = {spec.name: array for spec, (_, array) in zip(specs, drawn, strict=True)}
    # Every other one as JSON, where its type allows that.
    binary = frozenset(
        spec.name for i, spec in enumerate(specs) if i % 2 == 0 or spec.datatype in (Datatype.BF16, *FLOATS)
    )
    answer, json_bytes = encode_infer(InferResponse(model, outputs, 0, 0), "i", 0, binary)
    assert json_bytes is not None
    asked = {"inputs": json.loads(answer[:json_bytes])["outputs"], "parameters": {"binary_data_output": True}}
    head = json.dumps(asked).encode() + b" " * pad
    decoded = decode_infer(head + answer[json_bytes:], len(head), model.signature).request.inputs
    for name, array in outputs.items():
        assert decoded[name].shape == array.shape
        assert decoded[name].dtype == array.dtype
        assert np.array_equal(decoded[name], array, equal_nan=array.dtype.kind == "f")


FLOATS = (Datatype.FP16, Datatype.FP32, Datatype.FP64)


def test_the_answer_holds_json_and_binary_outputs() -> None:
    specs = (Y, TensorSpec("s", Datatype.BYTES, ("N",)), TensorSpec("n", Datatype.INT64, ()))
    model = ServedModel("m", "1", "d", "cpu", ModelSignature((X,), specs))
    outputs = {"y": np.ones((2, 3), np.float32).T.copy().T, "s": np.array(["ab", ""], object), "n": np.array(7)}
    answer, json_bytes = encode_infer(InferResponse(model, outputs, 0, 0), "r", 1, frozenset({"y", "s"}))
    assert json.loads(answer[:json_bytes])["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
        {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
        {"name": "n", "datatype": "INT64", "shape": [], "data": [7]},
    ]
    assert answer[json_bytes:] == np.ones(6, "<f4").tobytes() + ELEMENT + bytes(4)
