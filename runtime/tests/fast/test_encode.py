"""The hot path's answers against the codec's: the same document, whatever the outputs."""

import json

import numpy as np
import pytest

from haldane_runtime.core.types import Array, Datatype, InferResponse, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.protocol.codec import encode_infer
from haldane_runtime.protocol.fast.encode import Encoder

ARRAYS = {
    Datatype.FP32: np.array([[1.5, float("nan")], [float("inf"), -0.1]], np.float32),
    Datatype.FP64: np.array([1e-300, 3.0]),
    Datatype.FP16: np.array([0.5, 65504], np.float16),
    Datatype.INT8: np.array([[-128], [127]], np.int8),
    Datatype.UINT64: np.array([2**64 - 1], np.uint64),
    Datatype.BOOL: np.array([True, False]),
    Datatype.BYTES: np.array(["a", 'q"uote'], object),
    Datatype.INT64: np.array(7),
    Datatype.INT32: np.arange(6, dtype=np.int32).reshape(2, 3).T,
    Datatype.UINT8: np.zeros((0, 3), np.uint8),
}


@pytest.mark.parametrize("binary", [frozenset[str](), frozenset({"y"})])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_the_document_is_the_codecs(datatype: Datatype, binary: frozenset[str]) -> None:
    array: Array = ARRAYS[datatype]
    outputs = (TensorSpec("y", datatype, ()), TensorSpec("second", Datatype.INT32, ()))
    model = ServedModel('m"', "7", "0" * 64, "cpu", ModelSignature((), outputs))
    response = InferResponse(model, {"y": array, "second": np.ones(1, np.int32)}, 0.0, 0.0)
    body, length = Encoder(model).encode(response, 'id"', 1.25, binary)
    expected, expected_length = encode_infer(response, 'id"', 1.25, binary)
    assert (length is None) == (expected_length is None)
    assert json.loads(body[:length]) == json.loads(expected[:expected_length])
    if length is not None:
        assert body[length:] == expected[expected_length:]
