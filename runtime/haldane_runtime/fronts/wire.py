"""What a server and its fronts say to each other: frames of `marshal` on a private socket pair. Pure.

Both ends are the same program and the same Python, so that marshal, the quickest there is, may be
used; it must never read what anybody else wrote.

    server to front   ("offer", Offer)            what may be served, anew whenever it changes
                      ("answers", [Answer, …])    of one turn of the event loop
                      ("stop",)                   finish what is due, then end
    front to server   ("turn", Turn)              what one turn of the front's event loop brought
                      ("back", number, bytes)     the connection handed over as `number` and its unread bytes
"""

import marshal
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import (
    NUMPY_DTYPE,
    Array,
    Datatype,
    InferRequest,
    ModelSignature,
    ServedModel,
    TensorSpec,
)

_LENGTH = struct.Struct("<I")

# Tensors whose elements are not of one size do not go over the wire as they are.
_OF_ANY_SIZE = frozenset({Datatype.BYTES})


class Offer(NamedTuple):
    """What a front may answer for. `places` finds the number of a model by the name and version of a request."""

    generation: int
    draining: bool
    revision: str
    models: list[tuple[Any, ...]]
    places: dict[tuple[str | None, str | None], int]


class Turn(NamedTuple):
    """`requests` are (id, model, deadline, [(shape, bytes), …], outputs), `counts` (model, HTTP status, seconds).

    `withdrawn` are ids of requests whose client left, `busy` is the front's share of a core since the last turn.
    """

    requests: list[tuple[int, int, float, list[tuple[tuple[int, ...], Any]], tuple[str, ...]]]
    withdrawn: list[int]
    counts: list[tuple[int, int, float]]
    busy: float | None


# (id, [(shape, bytes), …] in the order asked for, seconds in the queue, seconds in the engine)
# or (id, code, message, seconds to wait before another try)
Answer = tuple[Any, ...]


def frame(message: tuple[Any, ...]) -> bytes:
    """One message as bytes."""
    body = marshal.dumps(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Puts messages together again from the pieces in which a stream arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """The messages that are complete now."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            # Own bytes, since the arrays made of them outlive the buffer.
            yield marshal.loads(bytes(memoryview(self._buffer)[at + _LENGTH.size : end]))
            at = end
        del self._buffer[:at]


def offerable(signature: ModelSignature) -> bool:
    """True when a front can serve such a model."""
    return not any(spec.datatype in _OF_ANY_SIZE for spec in (*signature.inputs, *signature.outputs))


def pack_model(model: ServedModel) -> tuple[Any, ...]:
    """A model without its engine."""
    sides = [
        [(spec.name, str(spec.datatype), spec.shape) for spec in side]
        for side in (model.signature.inputs, model.signature.outputs)
    ]
    return (model.name, model.version, model.digest, model.device, model.precision, *sides)


def unpack_model(packed: tuple[Any, ...]) -> ServedModel:
    """The model that was packed."""
    name, version, digest, device, precision, inputs, outputs = packed
    signature = ModelSignature(
        *(tuple(TensorSpec(n, Datatype(d), tuple(s)) for n, d, s in side) for side in (inputs, outputs))
    )
    return ServedModel(name, version, digest, device, signature, precision)


class TensorNames:
    """Turns the tensors of one model into unnamed bytes and back; both ends know the names from the signature."""

    def __init__(self, signature: ModelSignature) -> None:
        self._inputs = [(spec.name, NUMPY_DTYPE[spec.datatype]) for spec in signature.inputs]
        self._outputs = {spec.name: NUMPY_DTYPE[spec.datatype] for spec in signature.outputs}

    def pack_inputs(self, request: InferRequest) -> list[tuple[tuple[int, ...], Any]]:
        return [_packed(request.inputs[name]) for name, _ in self._inputs]

    def unpack_request(self, tensors: list[tuple[tuple[int, ...], bytes]], outputs: tuple[str, ...]) -> InferRequest:
        pairs = zip(self._inputs, tensors, strict=True)
        return InferRequest(
            {name: np.frombuffer(data, dtype).reshape(shape) for (name, dtype), (shape, data) in pairs}, outputs
        )

    def pack_outputs(self, outputs: Mapping[str, Array]) -> list[tuple[tuple[int, ...], Any]]:
        return [_packed(array) for array in outputs.values()]

    def unpack_outputs(self, names: tuple[str, ...], tensors: list[tuple[tuple[int, ...], bytes]]) -> dict[str, Array]:
        return {
            name: np.frombuffer(data, self._outputs[name]).reshape(shape)
            for name, (shape, data) in zip(names, tensors, strict=True)
        }


def _packed(array: Array) -> tuple[tuple[int, ...], Any]:
    # marshal takes a buffer for bytes, which spares one copy.
    return array.shape, array.data if array.flags.c_contiguous and array.ndim else array.tobytes()


def pack_error(number: int, error: RequestError) -> Answer:
    """An answer that is an error."""
    return number, str(error.code), error.message, error.retry_after


def unpack_error(answer: Answer) -> RequestError | None:
    """The error in an answer, if it is one."""
    return RequestError(Code(answer[1]), answer[2], answer[3]) if isinstance(answer[1], str) else None
