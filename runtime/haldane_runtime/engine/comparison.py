"""Are two results the same, as far as floating point lets one tell?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haldane_runtime.core.types import Array, Datatype, TensorSpec

FLOATS = frozenset({Datatype.BF16, Datatype.FP16, Datatype.FP32, Datatype.FP64})


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two numbers agree when they differ by at most `absolute + relative * |expected|`.

    `scaled` widens that by so much of the largest number in the tensor: rounding errors of a sum
    follow its terms, not its result, which may be close to 0.
    """

    relative: float
    absolute: float
    scaled: float = 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two tensors differ the most, as values that a sentence can hold."""

    output: str
    what: str

    def __str__(self) -> str:
        return f"output '{self.output}' {self.what}"


def first_difference(
    specs: tuple[TensorSpec, ...], got: Mapping[str, Array], expected: Mapping[str, Array], tolerance: Tolerance
) -> Difference | None:
    """The first output, in the order of `specs`, that differs from what is expected; None when all agree.

    Only outputs that `expected` holds are looked at. NaN agrees with NaN, infinity with the same infinity;
    integers, booleans and strings agree when they are equal.
    """
    for spec in specs:
        if spec.name in expected and (what := _difference(spec, got[spec.name], expected[spec.name], tolerance)):
            return Difference(spec.name, what)
    return None


def deviation(datatype: Datatype, got: Array, expected: Array) -> float:
    """How far `got` is from `expected`: the largest error over the largest expected number, 0 when equal.

    For integers, booleans and strings it is the share of elements that differ. Infinite when the shapes
    differ, or when one is finite where the other is not.
    """
    if got.shape != expected.shape:
        return math.inf
    if not got.size:
        return 0.0
    if datatype not in FLOATS:
        return float(np.mean(got != expected))
    one, other = as_numbers(datatype, got), as_numbers(datatype, expected)
    finite = np.isfinite(other)
    if not np.array_equal(finite, np.isfinite(one)):
        return math.inf
    error = float(np.abs(one - other)[finite].max(initial=0.0))
    scale = float(np.abs(other)[finite].max(initial=0.0))
    return error / scale if scale else (0.0 if error == 0 else math.inf)


def as_numbers(datatype: Datatype, array: Array) -> NDArray[np.float64]:
    """Floats of any width as float64; BF16 arrives as its bits in uint16."""
    if datatype is Datatype.BF16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def _difference(spec: TensorSpec, got: Array, expected: Array, tolerance: Tolerance) -> str | None:
    if got.shape != expected.shape:
        return f"has the shape {list(got.shape)} instead of {list(expected.shape)}"
    if spec.datatype in FLOATS:
        one, other = as_numbers(spec.datatype, got), as_numbers(spec.datatype, expected)
        far = _far(one, other, tolerance)
    else:
        one, other = got, expected
        far = np.asarray(got != expected)
    if not far.any():
        return None
    index = tuple(int(axis) for axis in np.argwhere(far)[0])
    return f"is {_value(one, index)} instead of {_value(other, index)} at index {list(index)}"


def _far(got: NDArray[np.float64], expected: NDArray[np.float64], tolerance: Tolerance) -> NDArray[np.bool_]:
    finite = np.isfinite(expected)
    scale = float(np.abs(expected)[finite].max(initial=0.0))
    with np.errstate(invalid="ignore"):
        limit = tolerance.absolute + tolerance.scaled * scale + tolerance.relative * np.abs(expected)
        near = np.where(finite, np.abs(got - expected) <= limit, got == expected)
    return ~(near | (np.isnan(got) & np.isnan(expected)))


def _value(array: NDArray[Any], index: tuple[int, ...]) -> str:
    value = array[index]
    return f"{value:.6g}" if isinstance(value, float) else repr(value.item() if hasattr(value, "item") else value)
