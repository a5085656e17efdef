"""Made-up inputs: what to run a model on when nobody has said what its requests look like.

No rule fits every model. A convolution wants images, an embedding small whole numbers, a mask zeros and
ones, an encoder the very strings it was trained on. So there are several recipes, from the most
telling to the tamest, and the first one that the model takes is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np

from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine.comparison import FLOATS, as_numbers

Inputs = Mapping[str, Array]

NOTHING_KNOWN: Mapping[str, list[Any]] = {}

# Different enough to show what rows do to each other, few enough to make at once even for images.
ROWS = 4

# For dynamic dimensions but the first, the likeliest first: sequences, and pictures where two or more are free. What is
# measured on too small a size promises too much of large batches.
_LENGTHS = (32, 8, 1, 224)
_PICTURES = (224, 32, 8, 1)

# Whole numbers below these: categories, then ages, then whatever people count.
_WIDE_INTEGERS = (10, 100, 1_000, 100_000)
_WIDE_DRAWS = len(_WIDE_INTEGERS)

_LARGEST_FP16 = 65_504.0
_BELOW = {Datatype.INT8: 128, Datatype.UINT8: 256, Datatype.INT16: 1 << 15, Datatype.UINT16: 1 << 16}


class Values(Enum):
    """What the elements are drawn from."""

    NORMAL = auto()
    WIDE = auto()
    UNIT = auto()
    ZEROS = auto()
    ONES = auto()
    KNOWN = auto()


@dataclass(frozen=True, slots=True)
class Recipe:
    """`values` in every tensor, `size` for every dynamic dimension but the first; `draw` numbers the tries."""

    values: Values
    size: int
    draw: int = 0


def recipes(signature: ModelSignature) -> Iterator[Recipe]:
    """All there is to try, in order; last what the model's own encoders know."""
    free = max((sum(isinstance(dim, str) for dim in spec.shape[1:]) for spec in signature.inputs), default=0)
    for size in ((1,), _LENGTHS, _PICTURES)[min(free, 2)]:
        for values in Values:
            for draw in range(_WIDE_DRAWS if values in (Values.WIDE, Values.KNOWN) else 1):
                yield Recipe(values, size, draw)


def make(
    signature: ModelSignature, recipe: Recipe, rows: int = ROWS, vocabulary: Mapping[str, list[Any]] = NOTHING_KNOWN
) -> dict[str, Array]:
    """Inputs with `rows` for every dynamic first dimension; the same ones at every start.

    `vocabulary` lists strings or whole numbers by input, for the recipes of known values.
    """
    random = np.random.default_rng(20_240 + recipe.draw)
    return {spec.name: _tensor(spec, recipe, rows, random, vocabulary.get(spec.name, [])) for spec in signature.inputs}


def take(inputs: Inputs, rows: list[int]) -> dict[str, Array]:
    """The given rows of every input; a row number may repeat."""
    return {name: np.ascontiguousarray(array[rows]) for name, array in inputs.items()}


def louder(signature: ModelSignature, inputs: Inputs, row: int, factor: float) -> dict[str, Array] | None:
    """The same inputs with the floats of one row times `factor`; None when that changes nothing."""
    changed = dict(inputs)
    for spec in signature.inputs:
        if spec.datatype not in FLOATS:
            continue
        numbers = as_numbers(spec.datatype, inputs[spec.name][row]) * factor
        changed[spec.name] = inputs[spec.name].copy()
        if spec.datatype is Datatype.BF16:
            changed[spec.name][row] = numbers.astype(np.float32).view(np.uint32) >> 16
        else:
            largest = np.finfo(changed[spec.name].dtype).max
            changed[spec.name][row] = np.clip(numbers, -largest, largest)
    if all(np.array_equal(changed[name], array) for name, array in inputs.items()):
        return None
    return changed


def _tensor(spec: TensorSpec, recipe: Recipe, rows: int, random: np.random.Generator, known: list[Any]) -> Array:
    dynamic = [rows, *[recipe.size] * (len(spec.shape) - 1)]
    shape = tuple(dim if isinstance(dim, int) else dynamic[axis] for axis, dim in enumerate(spec.shape))
    if recipe.values is Values.KNOWN and known:
        values = np.array(known, dtype=object)[random.integers(0, len(known), shape)]
    else:
        values = _values(spec.datatype, recipe, shape, random)
    # An array also for no dimensions at all, where numpy would give a plain number.
    return np.asarray(values, dtype=NUMPY_DTYPE[spec.datatype])


def _values(datatype: Datatype, recipe: Recipe, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    values = recipe.values
    if datatype is Datatype.BYTES:
        return _strings(values, shape, random)
    if datatype in FLOATS:
        numbers = _floats(values, shape, random)
        if datatype is Datatype.BF16:
            return numbers.view(np.uint32) >> 16
        return np.clip(numbers, -_LARGEST_FP16, _LARGEST_FP16) if datatype is Datatype.FP16 else numbers
    if values in (Values.ZEROS, Values.ONES):
        return np.full(shape, values is Values.ONES)
    if datatype is Datatype.UINT8 and values is Values.NORMAL:
        return np.asarray(random.integers(0, 256, shape))
    # Numbers of words, categories and masks: small ones are known to every model.
    wide = values in (Values.WIDE, Values.KNOWN) and datatype is not Datatype.BOOL
    below = _WIDE_INTEGERS[recipe.draw] if wide else 2
    return np.asarray(random.integers(0, min(below, _BELOW.get(datatype, below)), shape))


def _floats(values: Values, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if values in (Values.ZEROS, Values.ONES):
        return np.full(shape, values is Values.ONES, np.float32)
    if values is Values.UNIT:
        return np.asarray(random.random(shape, np.float32))
    numbers = np.asarray(random.standard_normal(shape, np.float32))
    if values is Values.NORMAL:
        return numbers
    # Tables have columns from thousandths to millions, and trees answer alike until a number is beyond their limits.
    return np.asarray(numbers * 10 ** random.uniform(-3, 6, shape), np.float32)


def _strings(values: Values, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    # Digits pass where the model turns strings into numbers.
    choice = {
        Values.NORMAL: ("a", "b"),
        Values.WIDE: ("yes", "no"),
        Values.UNIT: ("0", "1"),
        Values.ZEROS: ("",),
        Values.ONES: ("1",),
        Values.KNOWN: ("a", "b"),
    }[values]
    return np.asarray(np.array(choice, dtype=object)[random.integers(0, len(choice), shape)], dtype=object)
