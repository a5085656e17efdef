"""Names a question by its content. Pure."""

import hashlib
import struct
from collections.abc import Iterable, Mapping

import numpy as np

from haldane_runtime.core.types import Array, InferRequest

_KEY_PREFIX = b"haldane:1:"
_LENGTH = struct.Struct("<Q")


def key_of(digest: str, request: InferRequest, precision: str = "fp32") -> bytes:
    """The key of the answer that the model `digest`, run in `precision`, gives to `request`.

    Equal keys mean equal model, inputs (name, dtype, shape and bytes, in any order), wanted outputs
    (in their order) and precision: sha256 over all of these, each with its length before it.
    """
    content = hashlib.sha256(inputs_digest(request.inputs))
    for text in (digest, precision, *request.outputs):
        _add(content, text.encode())
    return _KEY_PREFIX + content.digest()


def inputs_digest(inputs: Mapping[str, Array]) -> bytes:
    """sha256 over the names, dtypes, shapes and bytes of `inputs`, whatever their order."""
    content = hashlib.sha256()
    for name, array in sorted(inputs.items()):
        _add(content, name.encode())
        if array.dtype == np.object_:
            _add(content, _shape(b"O", array.shape))
            _add_elements(content, array.ravel().tolist())
        else:
            _add(content, _shape(array.dtype.str.encode(), array.shape))
            _add(content, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return content.digest()


def _add_elements(content: "hashlib._Hash", elements: Iterable[object]) -> None:
    for element in elements:
        # A text and its bytes are told apart: a model may answer them differently.
        if isinstance(element, bytes):
            _add(content, b"b" + element)
        else:
            _add(content, b"s" + str(element).encode("utf-8", "surrogatepass"))


def _add(content: "hashlib._Hash", data: bytes | memoryview) -> None:
    content.update(_LENGTH.pack(len(data)))
    content.update(data)


def _shape(kind: bytes, shape: tuple[int, ...]) -> bytes:
    return kind + b"".join(_LENGTH.pack(dim) for dim in shape)
