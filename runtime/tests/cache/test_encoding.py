"""Keys and values of the response cache: laws over any tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from haldane_runtime.cache.encoding import Garbage, Unencodable, decode, encode
from haldane_runtime.cache.key import inputs_digest, key_of
from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, InferRequest

NUMBERS = sorted({dtype.str for dtype in NUMPY_DTYPE.values() if dtype != np.object_})
numbers = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
texts = hnp.arrays(np.object_, shapes, elements=st.text(st.characters(codec="utf-8"), max_size=5))
blobs = hnp.arrays(np.object_, shapes, elements=st.binary(max_size=5))
tensors = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), numbers | texts | blobs, max_size=4)


def same(one: Array, other: Array) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(one.tolist() == other.tolist() if one.dtype == np.object_ else one.tobytes() == other.tobytes())


@given(tensors)
def test_what_was_kept_comes_back(outputs: dict[str, Array]) -> None:
    back = decode(encode(outputs))
    assert list(back) == list(outputs)
    assert all(same(back[name], outputs[name]) for name in outputs)


@given(tensors, st.data())
def test_no_damaged_value_is_taken_for_an_answer(outputs: dict[str, Array], data: st.DataObject) -> None:
    value = bytearray(encode(outputs))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(value), encode(outputs)[:place], encode(outputs) + b"x"):
        with pytest.raises(Garbage):
            decode(damaged)


@given(st.binary(max_size=60))
def test_a_forged_checksum_over_nonsense_is_garbage_or_tensors(body: bytes) -> None:
    import struct
    import zlib

    value = struct.pack("<4sI", b"HLD1", zlib.crc32(body)) + body
    try:
        outputs = decode(value)
    except Garbage:
        return
    assert all(isinstance(array, np.ndarray) for array in outputs.values())


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": np.array(["a", b"b"], dtype=np.object_)},
        {"y": np.array([1, 2], dtype=np.object_)},
        {"y": np.array([1], dtype=np.complex64)},
        {"y" * 70_000: np.array([1], dtype=np.float32)},
        {"y": np.array(["\ud800"], dtype=np.object_)},
    ],
)
def test_what_cannot_be_kept_is_told(outputs: dict[str, Array]) -> None:
    with pytest.raises(Unencodable):
        encode(outputs)


def request(outputs: tuple[str, ...] = ("y",), **inputs: Array) -> InferRequest:
    return InferRequest(inputs, outputs)


def test_a_key_changes_with_everything_that_the_answer_depends_on() -> None:
    x = np.arange(6, dtype=np.float32)
    text = np.array(["ab", "c"], dtype=np.object_)
    questions = [
        key_of("d1", request(x=x)),
        key_of("d2", request(x=x)),
        key_of("d1", request(x=x), precision="int8"),
        key_of("d1", request(("y", "z"), x=x)),
        key_of("d1", request(("z", "y"), x=x)),
        key_of("d1", request(x=x.reshape(2, 3))),
        key_of("d1", request(x=x.reshape(3, 2))),
        key_of("d1", request(x=x.view(np.int32))),
        key_of("d1", request(w=x)),
        key_of("d1", request(x=x, w=x)),
        key_of("d1", request(x=text)),
        key_of("d1", request(x=np.array(["a", "bc"], dtype=np.object_))),
        key_of("d1", request(x=np.array([b"ab", b"c"], dtype=np.object_))),
        key_of("d1", request(x=x[:0])),
        key_of("d1", request(x=x[:0].reshape(0, 3))),
    ]
    assert len(set(questions)) == len(questions)


def test_a_key_does_not_change_with_how_the_request_lies_in_memory() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    w = np.zeros(1, np.uint8)
    assert key_of("d", request(x=x, w=w)) == key_of("d", request(w=w, x=x))
    assert inputs_digest({"x": x}) == inputs_digest({"x": np.asfortranarray(x)})


def test_every_datatype_can_be_kept() -> None:
    for datatype in Datatype:
        array = np.full([2], "a" if datatype is Datatype.BYTES else 1, dtype=NUMPY_DTYPE[datatype])
        assert same(decode(encode({"y": array}))["y"], array), datatype
