"""Optimistic decoding: a plain request in one pass, None for anything else.

What is declined here is decoded again by `protocol.codec`, which knows all forms and names what is
wrong. Nothing may be accepted here that is refused there.
"""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, InferRequest, ModelSignature, TensorSpec

_FORMAT: Mapping[Datatype, str] = {
    Datatype.FP32: "f",
    Datatype.FP64: "d",
    Datatype.INT8: "b",
    Datatype.INT16: "h",
    Datatype.INT32: "i",
    Datatype.INT64: "q",
    Datatype.UINT8: "B",
    Datatype.UINT16: "H",
    Datatype.UINT32: "I",
    Datatype.UINT64: "Q",
}
# Their bytes need a look of their own: a BOOL may only be 0 or 1, BYTES have lengths in between.
_NOT_RAW = frozenset({Datatype.BOOL, Datatype.BYTES})
_MAX_PLANS = 256
# What clients repeat is short; what is long would only fill the memory.
_MAX_REMEMBERED_BYTES = 4096
# What a document of another form than expected makes plain code raise.
_STRANGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, struct.error)
_NOTHING: frozenset[str] = frozenset()
_JSON_KEYS = frozenset({"id", "inputs", "outputs"})
_R, _L = b"rl"
_TENSOR_KEYS = frozenset({"name", "shape", "datatype", "data"})


class Plain(NamedTuple):
    """A decoded request; `binary` holds the outputs wanted as raw bytes, `id` the client's, if any."""

    id: str | None
    request: InferRequest
    binary: frozenset[str]


class _Layout(NamedTuple):
    """How a binary request lays out its tensors: name, dtype, shape, start and end in bytes."""

    size: int
    tensors: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]
    outputs: tuple[str, ...]
    binary: frozenset[str]


class _Input:
    """What the checks need of one input, ready to hand. `format` is struct's letter, None for what only the codec reads."""

    __slots__ = ("datatype", "dtype", "format", "name", "raw", "shape")

    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.datatype = str(spec.datatype)
        self.dtype = NUMPY_DTYPE[spec.datatype]
        self.shape = spec.shape
        self.format = _FORMAT.get(spec.datatype)
        self.raw = spec.datatype not in _NOT_RAW


class _Mould(NamedTuple):
    """A JSON request of one input with its numbers left out: what came before and after them, and what both said."""

    before: bytes
    after: bytes
    tensor: _Input
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    pack: Callable[..., bytes]
    """Of as many numbers as the shape has. Raises: struct.error, for another number of them or what is none."""


class Decoder:
    """Decodes for one model.

    Requests of one client differ in their numbers only. So the last JSON request is kept as a mould,
    and the layouts of binary requests are kept by the bytes of their JSON: what fits needs no other check.
    """

    def __init__(self, signature: ModelSignature) -> None:
        self._inputs = {spec.name: _Input(spec) for spec in signature.inputs}
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._json_outputs = not any(spec.datatype is Datatype.BF16 for spec in signature.outputs)
        symbols = [dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, str) and dim]
        self._shared = len(symbols) != len(set(symbols))
        self._layouts: dict[bytes, _Layout] = {}
        self._mould: _Mould | None = None

    def decode(self, body: bytes | memoryview, json_length: int | None) -> Plain | None:
        """The request in `body`, or None when the general path must see it. Tensors in a view stay where they are."""
        return self._json(bytes(body)) if json_length is None else self._binary(body, json_length)

    def _json(self, body: bytes) -> Plain | None:
        if not self._json_outputs or _may_hold_booleans(body):
            return None
        mould = self._mould
        if mould is not None and body.startswith(mould.before) and body.endswith(mould.after):
            plain = _cast(mould, body)
            if plain is not None:
                return plain
        try:
            document = orjson.loads(body)
            if not document.keys() <= _JSON_KEYS:
                return None
            arrays: dict[str, Array] = {}
            bound: dict[str, int] | None = {} if self._shared else None
            for item in document["inputs"]:
                tensor = self._inputs[item["name"]]
                if item["datatype"] != tensor.datatype or tensor.name in arrays or item.keys() != _TENSOR_KEYS:
                    return None
                arrays[tensor.name] = _numbers(tensor, item["shape"], item["data"], bound)
            outputs = self._wanted(document.get("outputs"))
            request_id = document.get("id")
        except _STRANGE:
            return None
        if len(arrays) != len(self._inputs) or not (request_id is None or type(request_id) is str):
            return None
        if len(arrays) == 1 and request_id is None:
            self._mould = _mould_of(body, tensor, tuple(item["shape"]), outputs)
        return Plain(request_id, InferRequest(arrays, outputs), _NOTHING)

    def _wanted(self, items: Any) -> tuple[str, ...]:
        if items is None or items == []:
            return self._outputs
        if type(items) is not list:
            raise ValueError
        names = tuple(item["name"] for item in items)
        if (
            any(len(item) != 1 for item in items)
            or len(set(names)) != len(names)
            or not set(names) <= set(self._outputs)
        ):
            raise ValueError
        return names

    def _binary(self, body: bytes | memoryview, json_length: int) -> Plain | None:
        head = bytes(body[:json_length])
        layout = self._layouts.get(head)
        request_id = None
        if layout is None:
            try:
                document = orjson.loads(head)
                layout = self._layout(document)
                request_id = document.get("id")
            except _STRANGE:
                return None
            if layout is None:
                return None
            if request_id is None and json_length <= _MAX_REMEMBERED_BYTES:
                if len(self._layouts) >= _MAX_PLANS:
                    self._layouts.clear()
                self._layouts[head] = layout
        if json_length + layout.size != len(body):
            return None
        arrays = {
            # A slice of bytes is a copy, which is aligned.
            name: np.frombuffer(body[json_length + start : json_length + end], dtype).reshape(shape)
            for name, dtype, shape, start, end in layout.tensors
        }
        if type(body) is memoryview:
            arrays = {name: _aligned(array) for name, array in arrays.items()}
        return Plain(request_id, InferRequest(arrays, layout.outputs), layout.binary)

    def _layout(self, document: dict[str, Any]) -> _Layout | None:
        if not document.keys() <= {"id", "inputs", "outputs", "parameters"}:
            return None
        request_id = document.get("id")
        if not (request_id is None or type(request_id) is str):
            return None
        tensors: dict[str, tuple[str, np.dtype[Any], tuple[int, ...], int, int]] = {}
        bound: dict[str, int] | None = {} if self._shared else None
        offset = 0
        for item in document["inputs"]:
            tensor = self._inputs[item["name"]]
            size = item["parameters"]["binary_data_size"]
            if item.keys() != {"name", "shape", "datatype", "parameters"} or len(item["parameters"]) != 1:
                return None
            count = _fitting(tensor, item["shape"], bound)
            strange = item["datatype"] != tensor.datatype or not tensor.raw or tensor.name in tensors
            if strange or type(size) is not int or not size or size != count * tensor.dtype.itemsize:
                return None
            tensors[tensor.name] = (tensor.name, tensor.dtype, tuple(item["shape"]), offset, offset + size)
            offset += size
        outputs = self._binary_outputs(document)
        if len(tensors) != len(self._inputs) or outputs is None:
            return None
        return _Layout(offset, tuple(tensors.values()), *outputs)

    def _binary_outputs(self, document: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str]] | None:
        """Outputs and those of them wanted as raw bytes; only all or none in JSON are known here."""
        parameters = document.get("parameters", {})
        if not parameters.keys() <= {"binary_data_output"}:
            return None
        every = parameters.get("binary_data_output", False)
        items = document.get("outputs")
        if items is None or items == []:
            wanted = dict.fromkeys(self._outputs, every)
        elif type(items) is not list:
            return None
        else:
            wanted = {}
            for item in items:
                given = item.get("parameters", {})
                name = item["name"]
                known = name in self._outputs and name not in wanted
                if not known or not item.keys() <= {"name", "parameters"} or not given.keys() <= {"binary_data"}:
                    return None
                wanted[name] = given.get("binary_data", every)
        if any(type(binary) is not bool for binary in wanted.values()):
            return None
        if not self._json_outputs and not all(wanted.values()):
            return None
        return tuple(wanted), frozenset(name for name, binary in wanted.items() if binary)


def _aligned(array: Array) -> Array:
    """An array's memory must be aligned to its elements; ONNX Runtime does not look."""
    return array if array.flags.aligned else array.copy()


def _may_hold_booleans(body: bytes) -> bool:
    """struct takes true for 1, which the codec refuses. Looking for one letter of each word first is 20 times faster.

    The letters are numbers, for which `in` need not make an exception of bytes first.
    """
    return (_R in body and b"true" in body) or (_L in body and b"false" in body)


def _mould_of(body: bytes, tensor: _Input, shape: tuple[int, ...], outputs: tuple[str, ...]) -> _Mould | None:
    """The mould of a request that was accepted; None when its numbers are not surely the only list of its kind."""
    start = body.find(b"[", body.find(b'"data"'))
    end = body.find(b"]", start) + 1
    before, after = body[:start], body[end:]
    if not after or len(before) + len(after) > _MAX_REMEMBERED_BYTES:
        return None
    # An escape may write a key a second time in other letters.
    if body.count(b'"data"') != 1 or b"\\" in before or b"\\" in after or body[start + 1 :].lstrip()[:1] == b"[":
        return None
    return _Mould(before, after, tensor, shape, outputs, struct.Struct(f"<{math.prod(shape)}{tensor.format}").pack)


def _cast(mould: _Mould, body: bytes) -> Plain | None:
    """The request of this mould; None when what it holds are not its numbers."""
    tensor = mould.tensor
    try:
        data = orjson.loads(body[len(mould.before) : -len(mould.after)])
        if type(data) is not list:
            return None
        array = np.frombuffer(mould.pack(*data), tensor.dtype).reshape(mould.shape)
    except _STRANGE:
        return None
    return Plain(None, InferRequest({tensor.name: array}, mould.outputs), _NOTHING)


def _numbers(tensor: _Input, shape: list[int], data: list[Any], bound: dict[str, int] | None) -> Array:
    """The array of the flat list `data`, or of a list of one flat row. Raises: TypeError, ValueError, struct.error, …"""
    count = _fitting(tensor, shape, bound)
    if len(data) != count and len(data) == 1 and type(data[0]) is list and len(shape) == 2 and shape[0] == 1:
        data = data[0]
    return _packed(tensor, tuple(shape), data)


def _packed(tensor: _Input, shape: tuple[int, ...], data: list[Any]) -> Array:
    # Unlike numpy, struct takes numbers only and, in its "standard" mode, only those in the type's range.
    if not data or tensor.format is None:
        raise ValueError
    # Refuses a buffer whose size is not the shape's.
    return np.frombuffer(struct.pack(f"<{len(data)}{tensor.format}", *data), tensor.dtype).reshape(shape)


def _fitting(tensor: _Input, shape: list[int], bound: dict[str, int] | None) -> int:
    """The number of elements; `bound` collects the sizes of dimensions that inputs share by name.

    Raises:
        ValueError: when the shape is not the model's.
    """
    wanted = tensor.shape
    if type(shape) is not list or len(shape) != len(wanted) or not wanted:
        raise ValueError
    count = 1
    for want, got in zip(wanted, shape):  # noqa: B905 - the lengths are equal, and saying so costs as much as the loop
        if type(got) is not int or got < 0 or (type(want) is int and want != got):
            raise ValueError
        if bound is not None and type(want) is str and want and bound.setdefault(want, got) != got:
            raise ValueError
        count *= got
    return count
