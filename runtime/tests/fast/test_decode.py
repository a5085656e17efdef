"""The optimistic decoder against the codec: what it accepts, the codec accepts and reads alike."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.protocol.codec import decode_infer
from haldane_runtime.protocol.fast.decode import Decoder, Plain

SIGNATURE = ModelSignature(
    (TensorSpec("x", Datatype.FP32, ("rows", 2)), TensorSpec("n", Datatype.INT64, ("",))),
    (TensorSpec("y", Datatype.FP32, ("rows", 1)), TensorSpec("z", Datatype.INT64, ("rows",))),
)
ONE = ModelSignature(SIGNATURE.inputs[:1], SIGNATURE.outputs[:1])
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}
N = {"name": "n", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}


def decode(document: Any, signature: ModelSignature = SIGNATURE) -> Plain | None:
    return Decoder(signature).decode(json.dumps(document).encode(), None)


def test_a_plain_request() -> None:
    plain = decode({"id": "7", "inputs": [X, N], "outputs": [{"name": "z"}]})
    assert plain is not None
    assert (plain.id, plain.request.outputs, plain.binary) == ("7", ("z",), frozenset())
    assert plain.request.inputs["x"].tolist() == [[1.5, 2.0]]
    assert plain.request.inputs["x"].dtype == np.float32
    assert plain.request.inputs["n"].tolist() == [1, 2, 3]


def test_a_row_may_be_nested() -> None:
    plain = decode({"inputs": [X | {"data": [[1.5, 2]]}]}, ONE)
    assert plain is not None
    assert plain.request.inputs["x"].tolist() == [[1.5, 2.0]]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"inputs": [X]},
        {"inputs": [X, X]},
        {"inputs": [X, N], "parameters": {"timeout": 1}},
        {"inputs": [X, N], "id": 7},
        {"inputs": [X, N], "outputs": [{"name": "w"}]},
        {"inputs": [X, N], "outputs": [{"name": "y"}, {"name": "y"}]},
        {"inputs": [X, N], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
        {"inputs": [X | {"datatype": "FP64"}, N]},
        {"inputs": [X | {"shape": [1.0, 2]}, N]},
        {"inputs": [X | {"shape": [True, 2]}, N]},
        {"inputs": [X | {"shape": [2, 1]}, N]},
        {"inputs": [X | {"shape": [-1, 2]}, N]},
        {"inputs": [X | {"data": [1.5]}, N]},
        {"inputs": [X | {"data": [1.5, "2"]}, N]},
        {"inputs": [X | {"data": [1.5, None]}, N]},
        {"inputs": [X | {"data": [1.5, True]}, N]},
        {"inputs": [X | {"data": [1.5, 1e39]}, N]},
        {"inputs": [X | {"data": [1.5, float("nan")]}, N]},
        {"inputs": [X, N | {"data": [1, 2, 3.0]}]},
        {"inputs": [X, N | {"data": [1, 2, 1 << 63]}]},
        {"inputs": [X | {"shape": [0, 2], "data": []}, N]},
    ],
)
def test_anything_else_is_declined(document: Any) -> None:
    assert decode(document) is None


SHARED = ModelSignature((SIGNATURE.inputs[0], TensorSpec("n", Datatype.INT64, ("rows",))), SIGNATURE.outputs)


@pytest.mark.parametrize(("rows", "accepted"), [(1, True), (3, False)])
def test_dimensions_that_inputs_share_by_name_must_agree(rows: int, accepted: bool) -> None:
    n = N | {"shape": [rows], "data": [1] * rows}
    assert (decode({"inputs": [X, n]}, SHARED) is not None) is accepted
    body, length = binary([raw(X, 8), raw(n, 8 * rows)], TAIL[: 8 + 8 * rows])
    assert (Decoder(SHARED).decode(body, length) is not None) is accepted


VALUE = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%s}]}'


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ("[3, 4.5]", [[3.0, 4.5]]),
        ("[1e0,-2]", [[1.0, -2.0]]),
        ("[1]", None),
        ("[1,2,3]", None),
        ("[1,2],[3,4]", None),
        ('[1,"2"]', None),
        ("[1,true]", None),
        ("[1,null]", None),
        ("[1,NaN]", None),
        ("{}", None),
        ("", None),
        ("[1,2", None),
        ('[1,2]}],"id":"a","inputs":[{"data":[1,2]', None),
    ],
)
def test_a_request_like_the_last_one_is_checked_as_well(value: str, values: list[list[float]] | None) -> None:
    decoder = Decoder(ONE)
    assert decoder.decode((VALUE % "[1,2]").encode(), None) is not None
    plain = decoder.decode((VALUE % value).encode(), None)
    assert (plain.request.inputs["x"].tolist() if plain else None) == values


def test_a_key_in_other_letters_makes_no_mould() -> None:
    decoder = Decoder(ONE)
    twice = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%s,"\\u0064ata":[7,8]}]}'
    for first in ("[1,2]", "[3,4]"):
        plain = decoder.decode((twice % first).encode(), None)
        assert plain is None or plain.request.inputs["x"].tolist() == [[7.0, 8.0]]


def test_a_mould_does_not_keep_other_forms_out() -> None:
    decoder = Decoder(ONE)
    for document in ({"inputs": [X]}, {"id": "7", "inputs": [X]}, {"inputs": [X | {"data": [[1.5, 2]]}]}):
        for _ in range(2):
            plain = decoder.decode(json.dumps(document).encode(), None)
            assert plain is not None
            assert plain.request.inputs["x"].tolist() == [[1.5, 2.0]]
            assert plain.id == document.get("id")


def binary(inputs: list[Any], tail: bytes, **members: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": inputs, **members}).encode()
    return head + tail, len(head)


def raw(tensor: dict[str, Any], size: Any) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key != "data"} | {"parameters": {"binary_data_size": size}}


TAIL = np.array([1.5, 2], np.float32).tobytes() + np.arange(3).tobytes()


def test_binary_tensors_and_a_layout_that_is_found_again() -> None:
    decoder = Decoder(SIGNATURE)
    body, length = binary([raw(X, 8), raw(N, 24)], TAIL, parameters={"binary_data_output": True})
    for _ in range(2):
        plain = decoder.decode(body, length)
        assert plain is not None
        assert plain.request.inputs["x"].tolist() == [[1.5, 2.0]]
        assert plain.request.inputs["n"].tolist() == [0, 1, 2]
        assert plain.binary == {"y", "z"}
    assert decoder.decode(body + b"x", length) is None


@pytest.mark.parametrize("offset", range(9))
def test_tensors_in_a_view_stay_where_they_are_if_that_is_where_they_may_be(offset: int) -> None:
    body, length = binary([raw(X, 8), raw(N, 24)], TAIL)
    padding = bytes(-length % 16 + offset)
    message = padding + body
    plain = Decoder(SIGNATURE).decode(memoryview(message)[len(padding) :], length)
    assert plain is not None
    assert plain.request.inputs["x"].tolist() == [[1.5, 2.0]]
    assert plain.request.inputs["n"].tolist() == [0, 1, 2]
    all_of_it = np.frombuffer(message, np.uint8)
    for name, size in (("x", 4), ("n", 8)):
        array = plain.request.inputs[name]
        assert array.flags.aligned
        assert np.shares_memory(array, all_of_it) is (offset % size == 0)


def test_an_id_is_the_requests_own() -> None:
    decoder = Decoder(SIGNATURE)
    for request_id in ("a", "b"):
        plain = decoder.decode(*binary([raw(X, 8), raw(N, 24)], TAIL, id=request_id))
        assert plain is not None
        assert plain.id == request_id


@pytest.mark.parametrize(
    ("inputs", "members"),
    [
        ([raw(X, 4), raw(N, 28)], {}),
        ([raw(X, 8.0), raw(N, 24)], {}),
        ([raw(X, 8), raw(X, 24)], {}),
        ([raw(X, 8), N], {}),
        ([raw(X, 8) | {"data": [1, 2]}, raw(N, 24)], {}),
        ([raw(X, 8), raw(N, 24)], {"parameters": {"timeout": 5}}),
        ([raw(X, 8), raw(N, 24)], {"outputs": [{"name": "y", "parameters": {"classification": 3}}]}),
        ([raw(X, 8), raw(N, 24)], {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}),
    ],
)
def test_other_binary_requests_are_declined(inputs: list[Any], members: dict[str, Any]) -> None:
    assert Decoder(SIGNATURE).decode(*binary(inputs, TAIL, **members)) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
near_x = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "n", "w"]),
        "shape": st.lists(st.integers(-1, 3) | st.booleans() | st.just(2.0), max_size=3) | anything,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | anything,
        "data": st.lists(st.floats(width=32) | st.integers(-(2**70), 2**70) | anything, max_size=4) | anything,
    },
    optional={"parameters": anything},
)
bodies = st.fixed_dictionaries(
    {"inputs": st.lists(near_x, max_size=3) | st.just([X, N]) | anything},
    optional={
        "id": anything,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["y", "z"])}), max_size=3) | anything,
        "parameters": anything,
    },
)


@given(bodies, st.sampled_from([SIGNATURE, ONE, SHARED]))
def test_nothing_is_accepted_here_that_the_codec_refuses(document: Any, signature: ModelSignature) -> None:
    body = json.dumps(document).encode()
    decoder = Decoder(signature)
    # What came before must not change what is accepted.
    decoder.decode(json.dumps({"inputs": [X]}).encode(), None)
    plain = decoder.decode(body, None)
    if plain is None:
        return
    try:
        decoded = decode_infer(body, None, signature)
    except RequestError as error:
        pytest.fail(f"the codec refuses it: {error.message}")
    assert (plain.id, plain.request.outputs, plain.binary) == (decoded.id, decoded.request.outputs, decoded.binary)
    assert plain.request.inputs.keys() == decoded.request.inputs.keys()
    for name, array in plain.request.inputs.items():
        np.testing.assert_array_equal(array, decoded.request.inputs[name])
        assert array.dtype == decoded.request.inputs[name].dtype
