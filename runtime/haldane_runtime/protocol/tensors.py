"""JSON values to numpy and the checks on the way. Pure.

numpy alone is too willing: it turns "1.5" into 1.5, null into NaN and true into 1. Here the types
of the JSON values are looked at first, as a set over the flat list, which costs less than the
conversion itself and lets every error name the input, what it expects and what it got.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from haldane_runtime.core.errors import invalid
from haldane_runtime.core.types import FLOATS, NUMPY_DTYPE, Array, Datatype, TensorSpec

_JSON_TYPES: dict[Datatype, tuple[frozenset[type], str]] = {
    Datatype.BOOL: (frozenset({bool}), "true or false"),
    Datatype.BYTES: (frozenset({str}), "strings"),
    **{datatype: (frozenset({int, float}), "numbers") for datatype in FLOATS},
}
_INTEGERS = (frozenset({int}), "whole numbers")

# numpy's own limits. Held before any product or message is made of a shape, as both grow with what was sent.
MAX_RANK = 64
MAX_SIZE = (1 << 63) - 1

_JSON_NAME: dict[type, str] = {
    bool: "true or false",
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "an object",
    float: "a number with a fraction",
    int: "a number",
}


def tensor(spec: TensorSpec, data: list[Any], shape: Sequence[int]) -> Array:
    """The array of `shape` that `data` holds, flat or nested in row-major order.

    Raises:
        RequestError: INVALID, when the count, the nesting or a value does not fit.
    """
    flat = _flatten(spec, data, shape)
    count = math.prod(shape)
    if len(flat) != count:
        raise invalid(f"input '{spec.name}' of shape {list(shape)} needs {count} values, got {len(flat)}")
    allowed, expected = _JSON_TYPES.get(spec.datatype, _INTEGERS)
    strange = set(map(type, flat)) - allowed
    if strange:
        got = " and ".join(sorted(_JSON_NAME[kind] for kind in strange))
        raise invalid(f"input '{spec.name}' expects {spec.datatype} values, which are {expected} in JSON, got {got}")
    try:
        with np.errstate(over="ignore"):
            array: Array = np.array(flat, dtype=NUMPY_DTYPE[spec.datatype]).reshape(shape)
    except OverflowError:
        raise invalid(f"input '{spec.name}' holds a value outside the range of {spec.datatype}") from None
    except ValueError as error:
        raise invalid(f"input '{spec.name}' cannot have the shape {list(shape)}: {error}") from None
    if spec.datatype in FLOATS and not np.isfinite(array).all():
        raise invalid(
            f"input '{spec.name}' expects finite {spec.datatype} numbers, got NaN, Infinity or a number out of range"
        )
    return array


def check_shape(spec: TensorSpec, shape: Sequence[int], symbols: dict[str, tuple[str, int]]) -> None:
    """Hold `shape` against the model's; `symbols` collects what each named dimension was bound to.

    Raises:
        RequestError: INVALID, when there are more than MAX_RANK dimensions, one is above MAX_SIZE, or
            rank, a fixed dimension or a shared symbolic one differs.
    """
    if len(shape) > MAX_RANK:
        raise invalid(f"input '{spec.name}' expects {spec}, got {len(shape)} dimensions of at most {MAX_RANK}")
    if any(size > MAX_SIZE for size in shape):
        raise invalid(f"input '{spec.name}' expects {spec}, got a dimension above {MAX_SIZE}")
    if not spec.shape:
        return
    fits = len(shape) == len(spec.shape) and all(
        not isinstance(want, int) or want == got for want, got in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise invalid(f"input '{spec.name}' expects {spec}, got shape {list(shape)}")
    for want, got in zip(spec.shape, shape, strict=True):
        if isinstance(want, int) or not want:
            continue
        other, size = symbols.setdefault(want, (spec.name, got))
        if size != got:
            raise invalid(
                f"inputs '{other}' and '{spec.name}' must have the same size in dimension '{want}', got {size} and {got}"
            )


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
