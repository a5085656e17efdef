import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import (
    FLOATS,
    NUMPY_DTYPE,
    Datatype,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.protocol.codec import decode_infer, decode_object, encode_infer
from haldane_runtime.protocol.metadata import model_metadata
from haldane_runtime.protocol.parameters import timeout_seconds

X = TensorSpec("x", Datatype.FP32, ("N", 3))
Y = TensorSpec("y", Datatype.FP32, ("N", 3))
SIGNATURE = ModelSignature((X,), (Y,))
MODEL = ServedModel("fraud", "2.1.0", "d" * 64, "cpu", SIGNATURE)


def one(spec: TensorSpec) -> ModelSignature:
    return ModelSignature((spec,), (Y,))


def body(**changes: Any) -> bytes:
    item = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2.5, 3]} | changes
    return json.dumps({"inputs": [{name: value for name, value in item.items() if value is not ...}]}).encode()


def refusal(data: bytes, signature: ModelSignature = SIGNATURE) -> str:
    with pytest.raises(RequestError) as caught:
        decode_infer(data, None, signature)
    assert caught.value.code is Code.INVALID
    return caught.value.message


def test_flat_and_nested_data_are_the_same() -> None:
    for data in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]):
        request = decode_infer(body(shape=[2, 3], data=data), None, SIGNATURE).request
        assert request.inputs["x"].dtype == np.float32
        assert request.inputs["x"].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert request.outputs == ("y",)


def test_the_id_is_kept() -> None:
    document = json.loads(body()) | {"id": "r-1"}
    assert decode_infer(json.dumps(document).encode(), None, SIGNATURE).id == "r-1"
    assert decode_infer(body(), None, SIGNATURE).id is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "z"}, "unknown input 'z'; the model takes 'x' (FP32 of shape [-1, 3])"),
        ({"name": 1}, "every item of 'inputs' must be an object with a 'name'"),
        ({"datatype": "FP64"}, "input 'x' expects FP32 of shape [-1, 3], got datatype \"FP64\""),
        ({"datatype": ...}, "its 'datatype' must be the string \"FP32\""),
        ({"shape": [2] * 65}, "got shape of 65 dimensions"),
        ({"shape": [2**63, 3]}, "got a dimension above 9223372036854775807"),
        ({"shape": [1, 4]}, "input 'x' expects FP32 of shape [-1, 3], got shape [1, 4]"),
        ({"shape": [3]}, "got shape [3]"),
        ({"shape": [-1, 3]}, "its 'shape' must be a list of whole numbers from 0 up"),
        ({"shape": [True, 3]}, "its 'shape' must be a list of whole numbers"),
        ({"shape": ...}, "its 'shape' must be a list of whole numbers"),
        ({"data": ...}, "its 'data' must be a list"),
        ({"data": "1,2,3"}, "its 'data' must be a list"),
        ({"data": [1, 2]}, "input 'x' of shape [1, 3] needs 3 values, got 2"),
        ({"shape": [10**9, 3]}, "needs 3000000000 values, got 3"),
        ({"data": [1, 2, "3"]}, "input 'x' expects FP32 values, which are numbers in JSON, got a string"),
        ({"data": [1, 2, None]}, "got null"),
        ({"data": [1, 2, True]}, "got true or false"),
        ({"data": [1, 2, [3]]}, "got a list"),
        ({"data": [1, 2, {}]}, "got an object"),
        ({"data": [1, 2, 1e39]}, "input 'x' holds a value outside the range of FP32"),
        ({"data": [[1, 2], [3]]}, "nested as [2, 2], which is not its shape [1, 3]"),
        ({"data": [[1, 2, 3], [4, 5]], "shape": [2, 3]}, "ragged data: every list at this depth must hold 3 values"),
        ({"data": [[1, 2, 3], 4], "shape": [2, 3]}, "ragged data"),
        ({"parameters": 7}, "the 'parameters' of input 'x' must be an object"),
        ({"parameters": {"binary_data_size": 12}, "data": ...}, "no header Inference-Header-Content-Length"),
        ({"parameters": {"binary_data_size": 12}}, "input 'x' has both 'data' and 'binary_data_size'"),
        ({"parameters": {"binary_data_size": -1}, "data": ...}, "must be a whole number of bytes from 0 up"),
        ({"parameters": {"binary_data_size": 2**64}, "data": ...}, "whole number of bytes from 0 up, below 2^63"),
        ({"shape": [2**64, 3]}, "its 'shape' must be a list of whole numbers from 0 up, below 2^63"),
        ({"parameters": {"binary_data_size": True}, "data": ...}, "must be a whole number of bytes from 0 up"),
        ({"parameters": {"shared_memory_region": "r"}, "data": ...}, "lies in shared memory, which is not served"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_expected(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(body(**changes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the request body is empty; send {"),
        (b"[]", "must be a JSON object"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 5000 + b"]" * 5000, "not valid JSON"),
        (b"{}", "'inputs' must be a list of tensors; the model takes 'x'"),
        (b'{"inputs": []}', "'inputs' must be a list of tensors"),
        (b'{"inputs": [1]}', "every item of 'inputs' must be an object"),
        (b'{"id": 7, "inputs": []}', "'id' must be a string"),
        (body()[:-2] + b"," + body()[12:-2] + b"]}", "input 'x' is given twice"),
        (body()[:-1] + b', "outputs": [{"name": "q"}]}', "unknown output 'q'; the model has 'y'"),
        (body()[:-1] + b', "outputs": {}}', "'outputs' must be a list"),
        (body()[:-1] + b', "outputs": [7]}', "every item of 'outputs'"),
    ],
)
def test_a_wrong_document_is_told(data: bytes, message: str) -> None:
    assert message in refusal(data)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_nan_names_its_input_and_what_was_expected(word: str) -> None:
    data = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, %s, 3]}]}' % word.encode()
    told = "input 'x' expects FP32 values, which are numbers in JSON, got NaN, Infinity or a number out of range"
    assert told in refusal(data)


def test_nan_where_nobody_reads_it_is_refused_too() -> None:
    for word in (b"NaN", b"1" + 400 * b"0"):
        message = refusal(body()[:-1] + b', "parameters": {"p": %b}}' % word)
        assert "holds NaN or Infinity, which JSON does not have, or a number too large for FP64" in message


def test_a_message_can_always_be_sent() -> None:
    lone = refusal(b'{"p": NaN, "inputs": [{"name": "\\ud800"}]}')
    assert lone.startswith("unknown input '?'")
    long = refusal(body(name="z" * 100_000))
    assert len(long) <= 2001
    assert long.endswith("…")


def test_nan_in_a_large_body_is_told_without_a_second_parse() -> None:
    data = b'{"inputs": [{"name": "x", "data": [NaN' + b", 1" * (1 << 20) + b"]}]}"
    assert "holds NaN or Infinity" in refusal(data)


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        (Datatype.UINT8, 256, "outside the range of UINT8"),
        (Datatype.UINT8, -1, "outside the range of UINT8"),
        (Datatype.INT64, 2**63, "outside the range of INT64"),
        (Datatype.INT64, 2**64, "got a number with a fraction or of more than 64 bits"),
        (Datatype.INT32, 1.0, "which are whole numbers in JSON, got a number with a fraction"),
        (Datatype.FP16, 70000, "outside the range of FP16"),
        (Datatype.FP64, 10**400, "outside the range of FP64"),
        (Datatype.BF16, 1, "input 'x' expects BF16, which JSON has no numbers for; send it as binary data"),
        (Datatype.BOOL, 1, "which are true or false in JSON, got a number"),
        (Datatype.BYTES, 1, "which are strings in JSON, got a number"),
    ],
)
def test_values_must_fit_their_datatype(datatype: Datatype, value: Any, message: str) -> None:
    spec = TensorSpec("x", datatype, ("N",))
    assert message in refusal(body(datatype=str(datatype), shape=[1], data=[value]), one(spec))


def test_shared_dimensions_must_agree() -> None:
    signature = ModelSignature(
        (
            TensorSpec("a", Datatype.INT64, ("N",)),
            TensorSpec("b", Datatype.INT64, ("N", "")),
        ),
        (Y,),
    )
    tensors = [
        {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "b", "shape": [3, 1], "datatype": "INT64", "data": [1, 2, 3]},
    ]
    message = refusal(json.dumps({"inputs": tensors}).encode(), signature)
    assert message == "inputs 'a' and 'b' must have the same size in dimension 'N', got 2 and 3"
    assert "missing input 'b': the model expects INT64" in refusal(
        json.dumps({"inputs": tensors[:1]}).encode(), signature
    )


def test_only_the_wanted_outputs_are_asked_for() -> None:
    signature = ModelSignature((X,), (Y, TensorSpec("z", Datatype.FP32, ())))
    assert decode_infer(body(), None, signature).request.outputs == ("y", "z")
    twice = body()[:-1] + b', "outputs": [{"name": "z"}, {"name": "z"}]}'
    assert decode_infer(twice, None, signature).request.outputs == ("z",)


def asked(**more: Any) -> bytes:
    return json.dumps(json.loads(body()) | more).encode()


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({}, set()),
        ({"parameters": {"binary_data_output": True}}, {"y", "z"}),
        ({"parameters": {"binary_data_output": False}}, set()),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}]}, {"y"}),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
            },
            {"z"},
        ),
    ],
)
def test_an_outputs_own_wish_for_binary_data_beats_the_requests(more: dict[str, Any], binary: set[str]) -> None:
    signature = ModelSignature((X,), (Y, TensorSpec("z", Datatype.FP32, ())))
    assert decode_infer(asked(**more), None, signature).binary == binary


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"parameters": []}, "the 'parameters' of the request must be an object"),
        (
            {"parameters": {"binary_data_output": 1}},
            "the parameter 'binary_data_output' of the request must be true or",
        ),
        ({"parameters": {"timeout": -1}}, "the parameter 'timeout' must be a whole number of microseconds from 0 up"),
        (
            {"parameters": {"timeout": 2**63}},
            "the parameter 'timeout' must be a whole number of microseconds from 0 up, below",
        ),
        (
            {"parameters": {"timeout": 2**64}},
            "the parameter 'timeout' must be a whole number of microseconds from 0 up, below",
        ),
        ({"parameters": {"timeout": 10**400}}, "the parameter 'timeout' must be a whole number of microseconds"),
        ({"parameters": {"timeout": "1s"}}, "the parameter 'timeout' must be a whole number of microseconds"),
        ({"parameters": {"sequence_id": 7, "sequence_start": True}}, "sequences are not served"),
        ({"parameters": {"sequence_id": "a"}}, "sequences are not served"),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "output 'y' is asked for as a classification",
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            "'binary_data' of output 'y' must be true",
        ),
        ({"outputs": [{"name": "y", "parameters": 1}]}, "the 'parameters' of output 'y' must be an object"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "asked for in shared memory"),
    ],
)
def test_a_parameter_that_is_not_served_is_refused_with_the_reason(more: dict[str, Any], message: str) -> None:
    assert message in refusal(asked(**more))


def test_parameters_that_are_hints_or_unknown_change_nothing() -> None:
    given = {"priority": 3, "sequence_id": 0, "sequence_start": False, "timeout": 0, "mine": {"a": [1]}}
    decoded = decode_infer(asked(parameters=given), None, SIGNATURE)
    assert decoded.parameters == given
    assert timeout_seconds(decoded.parameters) is None
    assert timeout_seconds({"timeout": 1500}) == 0.0015


def test_bfloat16_outputs_are_only_given_as_binary_data() -> None:
    signature = ModelSignature((X,), (TensorSpec("y", Datatype.BF16, ("N", 3)),))
    assert "output 'y' is BF16, which JSON has no numbers for" in refusal(body(), signature)
    wanted = asked(parameters={"binary_data_output": True})
    assert decode_infer(wanted, None, signature).binary == {"y"}


def test_the_answer_carries_version_id_and_time() -> None:
    outputs = {"y": np.array([[1.5, np.nan, 3]], np.float32)}
    encoded, json_bytes = encode_infer(InferResponse(MODEL, outputs, 0.1, 0.2), "r-1", 1.23456)
    answer = json.loads(encoded)
    assert json_bytes is None
    assert answer == {
        "model_name": "fraud",
        "model_version": "2.1.0",
        "id": "r-1",
        "parameters": {"time_ms": 1.235},
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1.5, None, 3.0]}],
    }


def test_metadata_uses_minus_one_for_a_dynamic_dimension() -> None:
    assert model_metadata(MODEL, ["2.1.0"])["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]


SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def elements(datatype: Datatype) -> st.SearchStrategy[Any] | None:
    if datatype is Datatype.BYTES:
        return st.text(max_size=5)
    return {"allow_nan": False, "allow_infinity": False} if datatype in FLOATS else None  # type: ignore[return-value]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Datatype, Any]:
    datatype = draw(st.sampled_from([datatype for datatype in Datatype if datatype is not Datatype.BF16]))
    return datatype, draw(npst.arrays(NUMPY_DTYPE[datatype], SHAPES, elements=elements(datatype)))


@given(arrays(), st.booleans())
@settings(max_examples=300)
def test_what_was_encoded_is_decoded(drawn: tuple[Datatype, Any], nested: bool) -> None:
    datatype, array = drawn
    spec = TensorSpec("x", datatype, tuple("" for _ in array.shape))
    model = ServedModel("m", "1", "d", "cpu", ModelSignature((spec,), (spec,)))
    answer, _ = encode_infer(InferResponse(model, {"x": array}, 0, 0), "i", 0)
    encoded = json.loads(answer)["outputs"][0]
    if nested and array.ndim:
        encoded["data"] = array.tolist()
    request = decode_infer(json.dumps({"inputs": [encoded]}).encode(), None, model.signature).request
    decoded = request.inputs["x"]
    assert decoded.shape == array.shape
    assert decoded.dtype == array.dtype
    assert np.array_equal(decoded, array)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["x", "FP32", "BYTES"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "shape", "data", "datatype"]), inner)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), JSON), st.sampled_from(list(Datatype))
)
@settings(max_examples=300)
def test_any_document_is_decoded_or_refused(document: Any, datatype: Datatype) -> None:
    decide(json.dumps(document).encode(), TensorSpec("x", datatype, ("N", 3)))


@given(st.fixed_dictionaries({"shape": JSON, "data": JSON, "datatype": st.just("FP32"), "name": st.just("x")}))
@settings(max_examples=300)
def test_any_tensor_is_decoded_or_refused(tensor: Any) -> None:
    decide(json.dumps({"inputs": [tensor]}).encode(), TensorSpec("x", Datatype.FP32, ()))


SIZES = st.sampled_from([0, 1, 2, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -1, 1.0, None])
HOSTILE_SHAPES = st.lists(SIZES, max_size=8) | st.builds(
    lambda size, rank: [size] * rank, SIZES, st.sampled_from([64, 65, 5000])
)
DEEP = st.builds(
    lambda depth, inner: "[" * depth + inner + "]" * depth,
    st.sampled_from([1, 2, 64, 65, 1000]),
    st.sampled_from(["", "1"]),
)


@given(
    HOSTILE_SHAPES.map(json.dumps) | DEEP,
    DEEP | st.just("[1]"),
    st.just('"FP32"') | DEEP,
    st.sampled_from([(), ("N", 3)]),
)
@example(shape=json.dumps([2**53] * 5000), data="[1]", datatype='"FP32"', expected=())
@example(shape=json.dumps([0, 2**63 - 1, 2**63 - 1]), data="[]", datatype='"FP32"', expected=())
@example(shape="[1]", data="[1]", datatype="[" * 1000 + "]" * 1000, expected=())
@settings(max_examples=300, deadline=1000)
def test_hostile_shapes_and_datatypes_are_decoded_or_refused(
    shape: str, data: str, datatype: str, expected: tuple[int | str, ...]
) -> None:
    spec = TensorSpec("x", Datatype.FP32, expected)
    decide(f'{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": {datatype}, "data": {data}}}]}}'.encode(), spec)


def test_a_shape_as_long_as_a_body_is_refused_in_no_time() -> None:
    started = time.process_time()
    assert "got 60000 dimensions" in refusal(body(shape=[2**53] * 60_000), one(TensorSpec("x", Datatype.FP32, ())))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("kind", [RecursionError, OverflowError, ValueError])
def test_what_no_check_foresaw_is_the_clients_fault(kind: type[Exception]) -> None:
    def decode(_: dict[str, Any]) -> None:
        raise kind

    with pytest.raises(RequestError, match="the request body cannot be decoded") as caught:
        decode_object(b"{}", "{}", decode)
    assert caught.value.code is Code.INVALID


@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, 80), st.binary(max_size=3)).map(lambda cut: body()[: cut[0]] + cut[1])
)
@settings(max_examples=300)
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    decide(data, X)


def decide(data: bytes, spec: TensorSpec) -> None:
    """Either a request that fits the signature or a sentence; never another exception."""
    try:
        request = decode_infer(data, None, one(spec)).request
    except RequestError as refused:
        error = refused
    else:
        array = request.inputs["x"]
        assert array.dtype == NUMPY_DTYPE[spec.datatype]
        assert array.size == math.prod(array.shape)
        return
    assert error.code is Code.INVALID
    assert error.message
