"""Tensors as bytes and back, without pickle. Pure.

    "HLD1" | crc32 of all that follows | number of tensors | tensor*
    tensor: length and bytes of the name | kind | number of dimensions | dimensions | length and bytes of the data

Integers are little-endian; `kind` is a place in `_KINDS`. Elements of a text tensor are written as
length and bytes. The checksum tells an answer from whatever else may lie under its key.
"""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

from haldane_runtime.core.types import Array

_MAGIC = b"HLD1"
_HEAD = struct.Struct("<4sI")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_NUMBERS = ("|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
_TEXT, _BYTES = len(_NUMBERS), len(_NUMBERS) + 1


class Unencodable(ValueError):
    """These outputs cannot be kept."""


class Garbage(ValueError):
    """These bytes are not what `encode` wrote."""


def encode(outputs: Mapping[str, Array]) -> bytes:
    """Raises: Unencodable: for an element type that is neither a number nor all text nor all bytes."""
    parts = [_U16.pack(len(outputs))]
    for name, array in outputs.items():
        kind, data = _data(array)
        encoded = name.encode()
        if len(encoded) > 0xFFFF:
            raise Unencodable("a name is longer than 65535 bytes")
        parts += [_U16.pack(len(encoded)), encoded, bytes((kind, array.ndim))]
        parts += [_U64.pack(dim) for dim in array.shape]
        parts += [_U64.pack(len(data)), data]
    body = b"".join(parts)
    return _HEAD.pack(_MAGIC, zlib.crc32(body)) + body


def decode(value: bytes) -> dict[str, Array]:
    """The outputs in the order they were given. Numbers are read-only views of `value`.

    Raises:
        Garbage: whatever is wrong with it.
    """
    if len(value) < _HEAD.size or _HEAD.unpack_from(value) != (_MAGIC, zlib.crc32(memoryview(value)[_HEAD.size :])):
        raise Garbage("it has another head or checksum")
    reader = _Reader(value, _HEAD.size)
    try:
        outputs = dict(_tensor(reader) for _ in range(reader.number(_U16)))
    except (ValueError, OverflowError, struct.error) as error:
        raise Garbage(str(error)) from error
    if reader.position != len(value):
        raise Garbage("it goes on after its last tensor")
    return outputs


def _data(array: Array) -> tuple[int, bytes]:
    if array.dtype != np.object_:
        try:
            return _NUMBERS.index(array.dtype.str), array.tobytes()
        except ValueError:
            raise Unencodable(f"the element type {array.dtype} cannot be kept") from None
    elements = array.ravel().tolist()
    if all(isinstance(element, str) for element in elements):
        try:
            return _TEXT, b"".join(_U32.pack(len(data)) + data for data in (text.encode() for text in elements))
        except UnicodeEncodeError as error:
            raise Unencodable("a text is not UTF-8") from error
    if all(isinstance(element, bytes) for element in elements):
        return _BYTES, b"".join(_U32.pack(len(data)) + data for data in elements)
    raise Unencodable("the elements are neither all text nor all bytes")


class _Reader:
    def __init__(self, value: bytes, position: int) -> None:
        self.value = value
        self.position = position

    def number(self, form: struct.Struct) -> int:
        (number,) = form.unpack_from(self.value, self.position)
        self.position += form.size
        return int(number)

    def take(self, length: int) -> bytes:
        return bytes(self.view(length))

    def view(self, length: int) -> memoryview:
        start, self.position = self.position, self.position + length
        if self.position > len(self.value):
            raise Garbage("it ends early")
        return memoryview(self.value)[start : self.position]


def _tensor(reader: _Reader) -> tuple[str, Array]:
    name = reader.take(reader.number(_U16)).decode()
    kind, rank = reader.take(2)
    shape = tuple(reader.number(_U64) for _ in range(rank))
    length = reader.number(_U64)
    if kind < len(_NUMBERS):
        return name, np.frombuffer(reader.view(length), np.dtype(_NUMBERS[kind])).reshape(shape)
    if kind > _BYTES:
        raise Garbage(f"the kind {kind} is unknown")
    elements = _elements(_Reader(reader.take(length), 0), kind)
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return name, array.reshape(shape)


def _elements(reader: _Reader, kind: int) -> list[str | bytes]:
    elements: list[str | bytes] = []
    while reader.position < len(reader.value):
        data = reader.take(reader.number(_U32))
        elements.append(data.decode() if kind == _TEXT else data)
    return elements
