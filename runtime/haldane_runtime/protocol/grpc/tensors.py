"""ModelInfer's messages to validated tensors, and answers to bytes. Pure.

The checks are those of the other transport; what is decided here is only where gRPC puts things: `raw_input_contents` for all
inputs or `contents` for all, never both. Answers are always raw, as its clients expect, and written by hand: all but
the numbers is the same from answer to answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np

from haldane_runtime.core.errors import invalid
from haldane_runtime.core.types import (
    NUMPY_DTYPE,
    Array,
    Datatype,
    InferRequest,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.protocol import parameters as given
from haldane_runtime.protocol.binary import raw_bytes, raw_tensor, text
from haldane_runtime.protocol.codec import names, require_inputs
from haldane_runtime.protocol.grpc.schema import ModelInferRequest, parse
from haldane_runtime.protocol.grpc.wire import without_field
from haldane_runtime.protocol.tensors import check_shape, impossible_shape

_CONTENTS: Mapping[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
_RAW_INPUT_CONTENTS = 7
# Below, protobuf's copies cost less than doing without them.
_LARGE_BYTES = 32 << 10
_REMEMBERED_SHAPES = 256
_DOUBLE = Struct("<d")


@dataclass(slots=True)
class Decoded:
    """`timeout` is the request's own parameter, in seconds."""

    request: InferRequest
    timeout: float | None


def parse_infer(data: bytes | memoryview) -> tuple[Any, Sequence[bytes | memoryview]]:
    """A ModelInferRequest and its raw contents, which share the memory of `data` if they are large.

    Raises:
        RequestError: INVALID, when the bytes are no such message.
    """
    if len(data) >= _LARGE_BYTES:
        taken = without_field(memoryview(data), _RAW_INPUT_CONTENTS)
        if taken is not None:
            return parse(ModelInferRequest, taken[0]), taken[1]
    message = parse(ModelInferRequest, data)
    return message, message.raw_input_contents


class TensorCodec:
    """Decodes requests for one model and encodes its answers."""

    def __init__(self, model: ServedModel) -> None:
        signature = model.signature
        self._signature: ModelSignature = signature
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._all = tuple(self._outputs)
        self._prefix = _text(1, model.name) + _text(2, model.version)
        self._shapes: dict[tuple[str, tuple[int, ...]], bytes] = {}

    def decode(self, message: Any, raw: Sequence[bytes | memoryview]) -> Decoded:
        """A ModelInferRequest as validated tensors, which share the memory of `raw`, its raw contents.

        Raises:
            RequestError: INVALID, naming the input or output and what is expected.
        """
        timeout = None
        if message.parameters:
            parameters = parameter_values(message.parameters)
            given.check_request(parameters)
            timeout = given.timeout_seconds(parameters)
        arrays = self._decode_inputs(message.inputs, raw)
        outputs = self._wanted(message.outputs) if message.outputs else self._all
        return Decoded(InferRequest(arrays, outputs), timeout)

    def _decode_inputs(self, items: Any, raw: Sequence[bytes | memoryview]) -> dict[str, Array]:
        if not items:
            raise invalid(f"'inputs' is empty; the model takes {names(self._signature.inputs)}")
        if raw and len(raw) != len(items):
            raise invalid(
                f"'raw_input_contents' has {len(raw)} elements for {len(items)} inputs; it must have one for each"
            )
        symbols: dict[str, tuple[str, int]] = {}
        arrays: dict[str, Array] = {}
        for number, item in enumerate(items):
            name = item.name
            spec = self._inputs.get(name)
            if spec is None:
                raise invalid(f"unknown input '{name}'; the model takes {names(self._signature.inputs)}")
            if name in arrays:
                raise invalid(f"input '{name}' is given twice")
            shape = _shape(item, spec, symbols)
            if item.parameters:
                given.check_input(parameter_values(item.parameters), name)
            if not raw:
                arrays[name] = _typed(item.contents, spec, shape)
            elif item.HasField("contents"):
                raise invalid(f"input '{name}' has both 'contents' and 'raw_input_contents'; send one of them")
            else:
                arrays[name] = raw_tensor(spec, memoryview(raw[number]), shape)
        require_inputs(arrays, self._signature)
        return arrays

    def _wanted(self, items: Any) -> tuple[str, ...]:
        for item in items:
            if item.name not in self._outputs:
                raise invalid(f"unknown output '{item.name}'; the model has {names(self._signature.outputs)}")
            if item.parameters:
                given.check_output(parameter_values(item.parameters), item.name)
        return tuple(dict.fromkeys(item.name for item in items))

    def encode(self, response: InferResponse, request_id: str, milliseconds: float) -> list[bytes | memoryview]:
        """A ModelInferResponse in parts that follow each other; `milliseconds` goes to the parameter `time_ms`."""
        parts: list[bytes | memoryview] = [self._prefix]
        if request_id:
            parts.append(_text(3, request_id))
        parts += (_TIME, _DOUBLE.pack(milliseconds))
        outputs = response.outputs
        for name, array in outputs.items():
            key = (name, array.shape)
            parts.append(self._shapes.get(key) or self._describe(key))
        for array in outputs.values():
            data = raw_bytes(array)
            # An empty array's memory has no flat view.
            flat = data.cast("B") if data.nbytes else b""
            parts += (b"\x32", _varint(len(flat)), flat)
        return parts

    def _describe(self, key: tuple[str, tuple[int, ...]]) -> bytes:
        name, shape = key
        packed = b"".join(map(_varint, shape))
        tensor = _text(1, name) + _text(2, self._outputs[name].datatype)
        if packed:
            tensor += b"\x1a" + _varint(len(packed)) + packed
        if len(self._shapes) >= _REMEMBERED_SHAPES:
            self._shapes.clear()
        described = self._shapes[key] = b"\x2a" + _varint(len(tensor)) + tensor
        return described


def _shape(item: Any, spec: TensorSpec, symbols: dict[str, tuple[str, int]]) -> list[int]:
    if item.datatype != spec.datatype:
        raise invalid(f"input '{spec.name}' expects {spec}, got datatype '{item.datatype}'")
    shape = list(item.shape)
    if shape and min(shape) < 0:
        raise invalid(f"input '{spec.name}' expects {spec}; its 'shape' must be a list of whole numbers from 0 up")
    check_shape(spec, shape, symbols)
    return shape


def _typed(contents: Any, spec: TensorSpec, shape: list[int]) -> Array:
    datatype = spec.datatype
    field = _CONTENTS.get(datatype)
    if field is None:
        raise invalid(f"input '{spec.name}' is {datatype}, which 'contents' cannot hold; send 'raw_input_contents'")
    strange = [descriptor.name for descriptor, _ in contents.ListFields() if descriptor.name != field]
    if strange:
        raise invalid(f"input '{spec.name}' is {datatype}; its contents must be in '{field}', not in '{strange[0]}'")
    values = getattr(contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise invalid(f"input '{spec.name}' of shape {shape} needs {count} values in '{field}', got {len(values)}")
    listed = [text(spec, value) for value in values] if datatype is Datatype.BYTES else list(values)
    try:
        return np.array(listed, NUMPY_DTYPE[datatype]).reshape(shape)
    except OverflowError:
        raise invalid(f"input '{spec.name}' holds a value outside the range of {datatype}") from None
    except ValueError as error:
        raise impossible_shape(spec, shape, error) from None


def parameter_values(items: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for key, value in items.items():
        which = value.WhichOneof("parameter_choice")
        parameters[key] = None if which is None else getattr(value, which)
    return parameters


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _text(field: int, value: str) -> bytes:
    data = value.encode()
    return bytes((field << 3 | 2,)) + _varint(len(data)) + data


# parameters {key: "time_ms", value: {double_param: …}}, but for the eight bytes of the number itself.
_VALUE = b"\x21" + bytes(8)
_ENTRY = _text(1, "time_ms") + b"\x12" + _varint(len(_VALUE)) + _VALUE
_TIME = (b"\x22" + _varint(len(_ENTRY)) + _ENTRY)[:-8]
