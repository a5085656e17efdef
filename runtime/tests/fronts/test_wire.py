from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import NUMPY_DTYPE, Datatype, InferRequest, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.fronts.balance import to_move
from haldane_runtime.fronts.wire import (
    Frames,
    TensorNames,
    frame,
    offerable,
    pack_error,
    pack_model,
    unpack_error,
    unpack_model,
)

messages = st.lists(st.tuples(st.sampled_from(["turn", "answers"]), st.binary(max_size=40)), max_size=8)


@given(messages, st.lists(st.integers(1, 30), max_size=20))
def test_messages_come_out_whole_however_the_stream_is_cut(sent: list[Any], cuts: list[int]) -> None:
    stream = b"".join(frame(message) for message in sent)
    frames = Frames()
    received: list[Any] = []
    for cut in cuts:
        received += frames.feed(stream[:cut])
        stream = stream[cut:]
    received += frames.feed(stream)
    assert received == sent


def through(message: tuple[Any, ...]) -> tuple[Any, ...]:
    (received,) = Frames().feed(frame(message))
    return received


def test_a_model_goes_without_its_engine() -> None:
    signature = ModelSignature(
        (TensorSpec("x", Datatype.FP32, ("N", 3)), TensorSpec("s", Datatype.BF16, ())),
        (TensorSpec("y", Datatype.INT64, ("N", "")),),
    )
    model = ServedModel("fraud", "7", "d" * 64, "cpu", signature, "int8")
    assert unpack_model(through(pack_model(model))) == model


@pytest.mark.parametrize("datatype", [datatype for datatype in Datatype if datatype is not Datatype.BYTES])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_of_every_kind_arrive_as_they_were(datatype: Datatype, shape: tuple[int, ...]) -> None:
    signature = ModelSignature((TensorSpec("x", datatype, ()),), (TensorSpec("y", datatype, ()),))
    assert offerable(signature)
    names = TensorNames(signature)
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(NUMPY_DTYPE[datatype])
    for given_array in (array, np.asfortranarray(array)):
        tensors, outputs = through((names.pack_inputs(InferRequest({"x": given_array}, ("y",))), ("y",)))
        request = names.unpack_request(tensors, outputs)
        np.testing.assert_array_equal(request.inputs["x"], array)
        assert request.inputs["x"].dtype == array.dtype
        (packed,) = through((names.pack_outputs({"y": given_array}),))
        np.testing.assert_array_equal(names.unpack_outputs(("y",), packed)["y"], array)


def test_strings_are_not_offered() -> None:
    text = TensorSpec("t", Datatype.BYTES, ())
    assert not offerable(ModelSignature((text,), ()))
    assert not offerable(ModelSignature((), (text,)))


def test_an_error_keeps_its_code_and_its_advice() -> None:
    error = unpack_error(through(pack_error(3, RequestError(Code.UNAVAILABLE, "full", 0.5))))
    assert error is not None
    assert (error.code, error.message, error.retry_after) == (Code.UNAVAILABLE, "full", 0.5)
    assert unpack_error((3, [((1,), b"abcd")], 0.1, 0.2)) is None


@pytest.mark.parametrize(
    ("server", "fronts", "movable", "moves"),
    [
        (0.5, [0.0], 64, [0]),
        (1.0, [], 64, []),
        (1.0, [0.0], 0, [0]),
        (1.0, [0.0], 1, [1]),
        (1.0, [0.0], 64, [16]),
        (1.0, [0.9], 64, [0]),
        (1.0, [0.6], 48, [4]),
        (1.0, [0.9, 0.0], 60, [0, 10]),
    ],
)
def test_connections_move_from_a_saturated_server_only(
    server: float, fronts: list[float], movable: int, moves: list[int]
) -> None:
    assert to_move(server, fronts, movable) == moves


@given(st.floats(0, 1), st.lists(st.floats(0, 1), max_size=4), st.integers(0, 100))
def test_never_more_than_there_are(server: float, fronts: list[float], movable: int) -> None:
    moves = to_move(server, fronts, movable)
    assert len(moves) == len(fronts)
    assert all(number >= 0 for number in moves)
    assert sum(moves) <= movable
