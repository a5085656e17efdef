import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, InferResponse, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.protocol.instances import decode_instances, encode_predictions

ROWS = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 3)),), ())
PERSON = ModelSignature((TensorSpec("age", Datatype.FP32, ("N", 1)), TensorSpec("name", Datatype.BYTES, ("N", 1))), ())
TOKENS = ModelSignature((TensorSpec("ids", Datatype.INT64, ("N", "L")),), ())


def decode(instances: Any, signature: ModelSignature) -> dict[str, Any]:
    request = decode_instances(json.dumps({"instances": instances}).encode(), signature)
    return {name: array.tolist() for name, array in request.inputs.items()}


@pytest.mark.parametrize(
    ("instances", "signature", "inputs"),
    [
        ([[1, 2, 3]], ROWS, {"x": [[1, 2, 3]]}),
        ([{"x": [1, 2, 3]}, {"x": [4, 5, 6]}], ROWS, {"x": [[1, 2, 3], [4, 5, 6]]}),
        ([{"age": 4, "name": "ann"}, {"name": "bo", "age": 5}], PERSON, {"age": [[4], [5]], "name": [["ann"], ["bo"]]}),
        ([{"age": [4], "name": ["ann"]}], PERSON, {"age": [[4]], "name": [["ann"]]}),
        ([[1, 2, 3, 4]], TOKENS, {"ids": [[1, 2, 3, 4]]}),
        ([3, 4], ModelSignature((TensorSpec("i", Datatype.INT64, ("N",)),), ()), {"i": [3, 4]}),
    ],
)
def test_rows_become_tensors(instances: Any, signature: ModelSignature, inputs: dict[str, Any]) -> None:
    assert decode(instances, signature) == inputs


@pytest.mark.parametrize(
    ("instances", "signature", "message"),
    [
        ([], ROWS, "'instances' must be a list of at least one row; the model takes 'x' (FP32 of shape [-1, 3])"),
        ({"x": 1}, ROWS, "'instances' must be a list"),
        ([[1, 2]], ROWS, "input 'x' expects FP32 of shape [-1, 3], got shape [1, 2]"),
        ([1, 2, 3], ROWS, "got shape [3]"),
        ([[1, 2, 3], [1, 2]], ROWS, "input 'x' has ragged data"),
        ([[1, 2, "3"]], ROWS, "input 'x' expects FP32 values, which are numbers in JSON, got a string"),
        ([[1, 2], [1]], TOKENS, "ragged data: every list at this depth must hold 2 values"),
        ([[1, 2, 3]], PERSON, "the model has 2 inputs: give each row as an object by input name"),
        ([{"age": 1}], PERSON, "missing input 'name': the model expects BYTES of shape [-1, 1]"),
        ([{"age": 1, "name": "a", "sex": "f"}], PERSON, "unknown input 'sex'"),
        ([{"age": 1, "name": "a"}, {"age": 1}], PERSON, "instance 1 differs from instance 0"),
        ([{"age": 1, "name": "a"}, 7], PERSON, "instance 1 differs from instance 0"),
        ([{"age": 1, "name": "a"}, {"age": [2], "name": "b"}], PERSON, "input 'age' expects FP32 values"),
        ([{}], PERSON, "missing input 'age'"),
    ],
)
def test_wrong_rows_are_told(instances: Any, signature: ModelSignature, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(instances, signature)
    assert caught.value.code is Code.INVALID
    assert message in caught.value.message


def test_nan_names_its_input() -> None:
    with pytest.raises(RequestError, match="input 'x' expects FP32 values, which are numbers in JSON, got NaN"):
        decode_instances(b'{"instances": [[1, NaN, 3]]}', ROWS)


def predictions(outputs: dict[str, Array]) -> dict[str, Any]:
    model = ServedModel("fraud", "7", "d", "cpu", ROWS)
    answer: dict[str, Any] = json.loads(encode_predictions(InferResponse(model, outputs, 0, 0), "r", 2.0))
    assert {key: answer.pop(key) for key in ("model_name", "model_version", "id", "time_ms")} == {
        "model_name": "fraud",
        "model_version": "7",
        "id": "r",
        "time_ms": 2.0,
    }
    return answer


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ({"y": np.array([[1, 2], [3, 4]], np.float32)}, {"predictions": [[1, 2], [3, 4]]}),
        ({"y": np.array([1, 0], np.int64)}, {"predictions": [1, 0]}),
        ({"y": np.array(["a", "b"], object)}, {"predictions": ["a", "b"]}),
        ({"y": np.array(3, np.float32)}, {"predictions": [3]}),
        ({"y": np.array([np.nan], np.float32)}, {"predictions": [None]}),
        (
            {"label": np.array([1, 0], np.int64), "p": np.array([[0.5, 0.5], [1, 0]], np.float32)},
            {"predictions": [{"label": 1, "p": [0.5, 0.5]}, {"label": 0, "p": [1, 0]}]},
        ),
        (
            {"label": np.array(["a", "b"], object), "ok": np.array([True, False])},
            {"predictions": [{"label": "a", "ok": True}, {"label": "b", "ok": False}]},
        ),
        ({"a": np.array([1], np.int64), "b": np.array([1, 2], np.int64)}, {"outputs": {"a": [1], "b": [1, 2]}}),
        ({"a": np.array(1), "b": np.array([1, 2], np.int64)}, {"outputs": {"a": 1, "b": [1, 2]}}),
    ],
)
def test_tensors_become_rows(outputs: dict[str, Any], answer: dict[str, Any]) -> None:
    assert predictions({name: np.asarray(array) for name, array in outputs.items()}) == answer


VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2)
ROW = VALUE | st.lists(VALUE, max_size=4) | st.dictionaries(st.sampled_from(["age", "name", "x"]), VALUE)


@given(st.lists(ROW, max_size=4), st.sampled_from([ROWS, PERSON, TOKENS]))
@settings(max_examples=300)
def test_any_rows_are_decoded_or_refused(rows: list[Any], signature: ModelSignature) -> None:
    try:
        inputs = decode(rows, signature)
    except RequestError as refused:
        code = refused.code
    else:
        assert all(len(value) == len(rows) for value in inputs.values())
        return
    assert code is Code.INVALID


def test_rows_nested_deeper_than_a_tensor_can_be_are_refused() -> None:
    signature = ModelSignature((TensorSpec("x", Datatype.FP32, ()),), ())
    for depth in (63, 64, 65, 1000):
        body = b'{"instances": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
        if depth <= 64:
            assert decode_instances(body, signature).inputs["x"].ndim == depth
            continue
        with pytest.raises(RequestError, match=f"got {depth} dimensions of at most 64") as caught:
            decode_instances(body, signature)
        assert caught.value.code is Code.INVALID
