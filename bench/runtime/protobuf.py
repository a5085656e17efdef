"""As much of protobuf's wire format as a ModelInferRequest and a ModelInferResponse need, so that no client library takes part.

Field numbers are those of the Open Inference Protocol's `grpc_service.proto`.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_FIXED64, _BYTES = 1, 2
_TYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}
_CONTENTS = {"INT32": 2, "INT64": 3, "FP32": 6, "FP64": 7}


def infer_request(model: str, name: str, array: NDArray[np.float32]) -> bytes:
    """One FP32 input in raw_input_contents."""
    shape = b"".join(_varint(size) for size in array.shape)
    tensor = _field(1, name.encode()) + _field(2, b"FP32") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, array.astype("<f4").tobytes())


def infer_response(message: bytes) -> dict[str, NDArray[np.generic]]:
    """The outputs by name, from raw_output_contents or from typed contents."""
    tensors = [(number, value) for number, value in _fields(message) if isinstance(value, bytes)]
    raw = [value for number, value in tensors if number == 6]
    outputs = {}
    for index, tensor in enumerate(value for number, value in tensors if number == 5):
        name, datatype, shape, contents = _tensor(tensor)
        data = raw[index] if raw else contents
        outputs[name] = np.frombuffer(data, _TYPES[datatype]).reshape(shape)
    return outputs


def frames(messages: Sequence[bytes]) -> bytes:
    """Each message behind its length, as the load generator reads them."""
    return b"".join(struct.pack("<I", len(message)) + message for message in messages)


def unframe(data: bytes) -> list[bytes]:
    """The reverse of `frames`."""
    messages = []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        messages.append(data[4:end])
        data = data[end:]
    return messages


def _tensor(message: bytes) -> tuple[str, str, list[int], bytes]:
    name, datatype, contents = "", "", b""
    shape: list[int] = []
    for number, value in _fields(message):
        match number, value:
            case 1, bytes():
                name = value.decode()
            case 2, bytes():
                datatype = value.decode()
            case 3, bytes():
                shape += _varints(value)
            case 3, int():
                shape.append(value)
            case 5, bytes():
                contents = b"".join(
                    _packed(number, inner, datatype) for number, inner in _fields(value) if isinstance(inner, bytes)
                )
    return name, datatype, shape, contents


def _packed(number: int, data: bytes, datatype: str) -> bytes:
    if number != _CONTENTS[datatype]:
        raise ValueError(f"contents of {datatype} came in field {number}")
    if datatype.startswith("INT"):
        return np.array(_varints(data), np.uint64).astype(_TYPES[datatype]).tobytes()
    return data


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        match key & 7:
            case 0:
                value, at = _read_varint(data, at)
                yield key >> 3, value
            case 2:
                size, at = _read_varint(data, at)
                yield key >> 3, data[at : at + size]
                at += size
            case 1 | 5 as kind:
                at += 8 if kind == _FIXED64 else 4
            case kind:
                raise ValueError(f"wire type {kind} is not known")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varints(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _read_varint(data, at)
        values.append(value)
    return values
