"""Raw tensor bytes to numpy and back, as the Open Inference Protocol's binary extension lays them out. Pure.

Little-endian, row-major, without padding. BOOL is one byte, 0 or 1; BYTES is a length as an unsigned
32-bit number before each element; BF16 is carried as its bits. Strings are UTF-8, because that is
what the engine's strings are.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from haldane_runtime.core.errors import invalid
from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, TensorSpec
from haldane_runtime.protocol.tensors import impossible_shape

_LENGTH = struct.Struct("<I")


def raw_tensor(spec: TensorSpec, data: memoryview, shape: Sequence[int]) -> Array:
    """The array of `shape` whose bytes `data` holds; it shares the memory of `data` where that is aligned.

    NaN and Infinity are taken as they are: unlike JSON, raw bytes have them.

    Raises:
        RequestError: INVALID, when the number of bytes or a BOOL or BYTES element does not fit.
    """
    if spec.datatype is Datatype.BYTES:
        return _strings(spec, data, shape)
    dtype = NUMPY_DTYPE[spec.datatype]
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise invalid(
            f"input '{spec.name}' of shape {list(shape)} and datatype {spec.datatype} needs {needed} bytes, "
            f"got {len(data)}"
        )
    array = np.frombuffer(data, dtype) if needed else np.empty(0, dtype)
    if not array.flags.aligned:
        # Where the tensor starts is the client's choice. Compiled loops may take aligned elements for granted.
        array = np.frombuffer(bytes(data), dtype)
    if spec.datatype is Datatype.BOOL and needed and array.view(np.uint8).max() > 1:
        raise invalid(f"input '{spec.name}' expects BOOL bytes, which are 0 or 1, got another")
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise impossible_shape(spec, shape, error) from None


def _strings(spec: TensorSpec, data: memoryview, shape: Sequence[int]) -> Array:
    count = math.prod(shape)
    if count * _LENGTH.size > len(data):
        raise invalid(
            f"input '{spec.name}' of shape {list(shape)} needs at least {count * _LENGTH.size} bytes, a length before "
            f"each of its {count} elements, got {len(data)}"
        )
    values = []
    offset, end = 0, len(data)
    for number in range(count):
        start = offset + _LENGTH.size
        if start > end:
            raise invalid(f"input '{spec.name}' ends before the length of element {number}")
        offset = start + _LENGTH.unpack_from(data, offset)[0]
        if offset > end:
            raise invalid(
                f"input '{spec.name}' ends within element {number}: its length says {offset - start} bytes, "
                f"but {end - start} are left"
            )
        values.append(text(spec, data[start:offset]))
    if offset != end:
        raise invalid(f"input '{spec.name}' holds {end - offset} bytes more than its {count} elements")
    try:
        return _objects(values).reshape(shape)
    except ValueError as error:
        raise impossible_shape(spec, shape, error) from None


def _objects(values: list[Any]) -> Array:
    return np.array(values, NUMPY_DTYPE[Datatype.BYTES])


def text(spec: TensorSpec, data: memoryview | bytes) -> str:
    """One BYTES element. Raises: RequestError: INVALID, when it is not UTF-8."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            f"input '{spec.name}' holds bytes that are not UTF-8 ({error.reason}); the model takes strings"
        ) from None


def raw_bytes(array: Array) -> memoryview:
    """The bytes of an output; the array's own memory where that is contiguous."""
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).data
    parts: list[bytes] = []
    for value in array.reshape(-1).tolist():
        data = str(value).encode()
        parts += (_LENGTH.pack(len(data)), data)
    return memoryview(b"".join(parts))


def whole_body(spec: TensorSpec, data: memoryview) -> Array:
    """The one input of a model whose bytes are the whole body; its shape follows from their number.

    Of the dynamic dimensions the last takes what the bytes hold, the others are 1. BYTES is one
    element without a length before it.

    Raises:
        RequestError: INVALID, when no shape of the model's has that many bytes, or they are less than a row.
    """
    if spec.datatype is Datatype.BYTES:
        if any(isinstance(dim, int) and dim != 1 for dim in spec.shape):
            raise invalid(f"input '{spec.name}' expects {spec}, but a body without a header holds one string")
        return _objects([text(spec, data)]).reshape([1] * len(spec.shape))
    return raw_tensor(spec, data, _shape_of_body(spec, len(data)))


def _shape_of_body(spec: TensorSpec, size: int) -> list[int]:
    """A size that fits no shape is given a shape near it, which `raw_tensor` refuses with the numbers."""
    count = size // NUMPY_DTYPE[spec.datatype].itemsize
    if not spec.shape:
        return [] if count == 1 else [count]
    shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape]
    free = [axis for axis, dim in enumerate(spec.shape) if not isinstance(dim, int)]
    if free:
        rest = math.prod(shape)
        # Less than a row is no answerable request, unless rows have no bytes.
        least = 1 if free[-1] == 0 and rest else 0
        shape[free[-1]] = max(least, count // (rest or 1))
    return shape
