"""JSON values to numpy and the checks on the way. Pure.

numpy alone is too willing: it turns "1.5" into 1.5, null into NaN and true into 1. Here the types
of the JSON values are looked at first, as a set over the flat list, and `struct` packs them, which
costs less than numpy's own conversion, never rounds a value into another and refuses what is out of
range. Every error names the input, what it expects and what it got.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from haldane_runtime.core.errors import RequestError, invalid
from haldane_runtime.core.types import FLOATS, NUMPY_DTYPE, Array, Datatype, TensorSpec

_JSON_TYPES: dict[Datatype, tuple[frozenset[type], str]] = {
    Datatype.BOOL: (frozenset({bool}), "true or false"),
    Datatype.BYTES: (frozenset({str}), "strings"),
    **{datatype: (frozenset({int, float}), "numbers") for datatype in FLOATS},
}
_INTEGERS = (frozenset({int}), "whole numbers")

_PACKED: Mapping[Datatype, str] = {
    Datatype.BOOL: "?",
    Datatype.UINT8: "B",
    Datatype.UINT16: "H",
    Datatype.UINT32: "I",
    Datatype.UINT64: "Q",
    Datatype.INT8: "b",
    Datatype.INT16: "h",
    Datatype.INT32: "i",
    Datatype.INT64: "q",
    Datatype.FP16: "e",
    Datatype.FP32: "f",
    Datatype.FP64: "d",
}

# numpy's own limits. Held before any product or message is made of a shape, as both grow with what was sent.
MAX_RANK = 64
MAX_SIZE = (1 << 63) - 1


class NotFinite:
    """Stands in a parsed document where the text says NaN, Infinity or a number beyond every float."""


_JSON_NAME: dict[type, str] = {
    bool: "true or false",
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "an object",
    float: "a number with a fraction or of more than 64 bits",
    int: "a number",
    NotFinite: "NaN, Infinity or a number out of range",
}


def tensor(spec: TensorSpec, data: list[Any], shape: Sequence[int]) -> Array:
    """The array of `shape` that `data` holds, flat or nested in row-major order.

    Raises:
        RequestError: INVALID, when the count, the nesting or a value does not fit.
    """
    datatype = spec.datatype
    if datatype is Datatype.BF16:
        raise invalid(f"input '{spec.name}' expects BF16, which JSON has no numbers for; send it as binary data")
    flat = _flatten(spec, data, shape)
    count = math.prod(shape)
    if len(flat) != count:
        raise invalid(f"input '{spec.name}' of shape {list(shape)} needs {count} values, got {len(flat)}")
    allowed, expected = _JSON_TYPES.get(datatype, _INTEGERS)
    strange = set(map(type, flat)) - allowed
    if strange:
        got = " and ".join(sorted(_JSON_NAME[kind] for kind in strange))
        raise invalid(f"input '{spec.name}' expects {datatype} values, which are {expected} in JSON, got {got}")
    try:
        return _array(datatype, flat).reshape(shape)
    except (OverflowError, struct.error):
        raise invalid(f"input '{spec.name}' holds a value outside the range of {datatype}") from None
    except ValueError as error:
        raise impossible_shape(spec, shape, error) from None


def _array(datatype: Datatype, flat: list[Any]) -> Array:
    if datatype is Datatype.BYTES or not flat:
        return np.array(flat, NUMPY_DTYPE[datatype])
    return np.frombuffer(struct.pack(f"<{len(flat)}{_PACKED[datatype]}", *flat), NUMPY_DTYPE[datatype])


def impossible_shape(spec: TensorSpec, shape: Sequence[int], error: ValueError) -> RequestError:
    """numpy's own refusal, such as a product of dimensions that no memory could hold, as ours."""
    return invalid(f"input '{spec.name}' cannot have the shape {list(shape)}: {error}")


def check_shape(spec: TensorSpec, shape: Sequence[int], symbols: dict[str, tuple[str, int]]) -> None:
    """Hold `shape` against the model's; `symbols` collects what each named dimension was bound to.

    Raises:
        RequestError: INVALID, when there are more than MAX_RANK dimensions, one is above MAX_SIZE, or
            rank, a fixed dimension or a shared symbolic one differs.
    """
    wanted = spec.shape
    if not wanted and len(shape) > MAX_RANK:
        raise invalid(f"input '{spec.name}' expects {spec}, got {len(shape)} dimensions of at most {MAX_RANK}")
    if wanted and len(shape) != len(wanted):
        raise _wrong_shape(spec, shape)
    if shape and max(shape) > MAX_SIZE:
        raise invalid(f"input '{spec.name}' expects {spec}, got a dimension above {MAX_SIZE}")
    for want, got in zip(wanted, shape, strict=False):
        if want == got or want == "":  # noqa: PLR1714 -- once a dimension of every request, and a set takes longer
            continue
        if isinstance(want, int):
            raise _wrong_shape(spec, shape)
        other, size = symbols.setdefault(want, (spec.name, got))
        if size != got:
            raise invalid(
                f"inputs '{other}' and '{spec.name}' must have the same size in dimension '{want}', got {size} and {got}"
            )


def _wrong_shape(spec: TensorSpec, shape: Sequence[int]) -> RequestError:
    got = list(shape) if len(shape) <= MAX_RANK else f"of {len(shape)} dimensions"
    return invalid(f"input '{spec.name}' expects {spec}, got shape {got}")


def shape_of(data: Any) -> list[int]:
    """The shape that a nested list claims by the first element of each level."""
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return shape


def _flatten(spec: TensorSpec, data: list[Any], shape: Sequence[int]) -> list[Any]:
    if not data or not isinstance(data[0], list):
        return data
    if len(shape) < 2 or len(data) != shape[0]:
        raise invalid(f"input '{spec.name}' has data nested as {shape_of(data)}, which is not its shape {list(shape)}")
    level = data
    for size in shape[1:]:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise invalid(
                f"input '{spec.name}' has ragged data: every list at this depth must hold {size} values "
                f"for shape {list(shape)}"
            )
        level = list(chain.from_iterable(level))
        if not level:
            break
    return level
