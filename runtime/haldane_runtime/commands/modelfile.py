"""What an ONNX file says of itself, read from its protobuf wire format without loading a weight.

Field numbers are those of `onnx/onnx.proto` (ModelProto, GraphProto, NodeProto, TensorProto). Fields
are skipped by their length, so that a file of gigabytes costs a few pages.
"""

import math
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET = 1, 2, 3, 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_NODE, _INITIALIZER = 1, 5
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_TENSOR_DIMS = 1

DEFAULT_DOMAIN = "ai.onnx"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """`opsets` by domain; `operators` counts nodes by `domain:type`, the domain only when it is not ONNX's own.

    `parameters` is the number of elements in the graph's initializers, wherever their data lie.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    operators: Mapping[str, int]
    parameters: int


def read_model_file(path: Path) -> ModelFile:
    """Read the header, the operators and the sizes of the weights.

    Raises:
        OSError: when the file cannot be read.
        ValueError: when it is not in protobuf's wire format.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        # Closed with its last view, which an error holds on to.
        return _model(memoryview(content))
    except IndexError as error:
        raise ValueError(f"{path.name} ends within a field") from error


def _model(view: memoryview) -> ModelFile:
    ir_version, producer, producer_version = 0, "", ""
    opsets: dict[str, int] = {}
    operators: Counter[str] = Counter()
    parameters = 0
    for field, value in _fields(view):
        if field == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif field == _PRODUCER:
            producer = _text(value)
        elif field == _PRODUCER_VERSION:
            producer_version = _text(value)
        elif field == _OPSET and isinstance(value, memoryview):
            domain, version = _opset(value)
            opsets[domain] = version
        elif field == _GRAPH and isinstance(value, memoryview):
            for inner, part in _fields(value):
                if inner == _NODE and isinstance(part, memoryview):
                    operators[_operator(part)] += 1
                elif inner == _INITIALIZER and isinstance(part, memoryview):
                    parameters += math.prod(_dims(part))
    return ModelFile(ir_version, f"{producer} {producer_version}".strip(), opsets, dict(operators), parameters)


def _opset(view: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in _fields(view):
        if field == _OPSET_DOMAIN:
            domain = _text(value)
        elif field == _OPSET_VERSION and isinstance(value, int):
            version = value
    return domain or DEFAULT_DOMAIN, version


def _operator(view: memoryview) -> str:
    operator, domain = "", ""
    for field, value in _fields(view):
        if field == _NODE_OPERATOR:
            operator = _text(value)
        elif field == _NODE_DOMAIN:
            domain = _text(value)
    return operator if domain in ("", DEFAULT_DOMAIN) else f"{domain}:{operator}"


def _dims(view: memoryview) -> Iterator[int]:
    """Writers pack the dimensions into one field or repeat it; protobuf allows both."""
    for field, value in _fields(view):
        if field != _TENSOR_DIMS:
            continue
        if isinstance(value, int):
            yield value
            continue
        place = 0
        while place < len(value):
            dim, place = _varint(value, place)
            yield dim


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    place = 0
    while place < len(view):
        key, place = _varint(view, place)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            number, place = _varint(view, place)
            yield field, number
            continue
        if kind == _BYTES:
            length, place = _varint(view, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if place + length > len(view):
            raise ValueError("a field is longer than what holds it")
        yield field, view[place : place + length]
        place += length


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _text(value: int | memoryview) -> str:
    return "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")
