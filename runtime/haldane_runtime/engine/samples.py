"""Made-up inputs: what to run a model on when nobody has said what its requests look like.

No rule fits every model. A convolution wants images, an embedding small whole numbers, a mask zeros and
ones, an encoder the very strings it was trained on. So there are several recipes, from the most
telling to the tamest, and the first one that the model takes is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, ModelSignature, TensorSpec

Inputs = Mapping[str, Array]

# Different enough to show what rows do to each other, few enough to make at once even for images.
ROWS = 4

# For dynamic dimensions but the first: a short sequence, one step, then pictures.
_SIZES = (8, 1, 32, 224)


class Values(Enum):
    """What the elements are drawn from."""

    NORMAL = auto()
    WIDE = auto()
    UNIT = auto()
    ZEROS = auto()
    ONES = auto()


@dataclass(frozen=True, slots=True)
class Recipe:
    """`values` in every tensor, `size` for every dynamic dimension but the first."""

    values: Values
    size: int


def recipes(signature: ModelSignature) -> Iterator[Recipe]:
    """All there is to try, in order."""
    inner = any(isinstance(dim, str) for spec in signature.inputs for dim in spec.shape[1:])
    for size in _SIZES if inner else (1,):
        for values in Values:
            yield Recipe(values, size)


def make(signature: ModelSignature, recipe: Recipe, rows: int = ROWS) -> dict[str, Array]:
    """Inputs with `rows` for every dynamic first dimension; the same ones at every start."""
    random = np.random.default_rng(20_240)
    return {spec.name: _tensor(spec, recipe, rows, random) for spec in signature.inputs}


def take(inputs: Inputs, rows: list[int]) -> dict[str, Array]:
    """The given rows of every input; a row number may repeat."""
    return {name: np.ascontiguousarray(array[rows]) for name, array in inputs.items()}


def _tensor(spec: TensorSpec, recipe: Recipe, rows: int, random: np.random.Generator) -> Array:
    dynamic = [rows, *[recipe.size] * (len(spec.shape) - 1)]
    shape = tuple(dim if isinstance(dim, int) else dynamic[axis] for axis, dim in enumerate(spec.shape))
    # An array also for no dimensions at all, where numpy would give a plain number.
    return np.asarray(_values(spec.datatype, recipe.values, shape, random), dtype=NUMPY_DTYPE[spec.datatype])


def _values(datatype: Datatype, values: Values, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if datatype is Datatype.BYTES:
        return _strings(values, shape, random)
    if datatype in (Datatype.BF16, Datatype.FP16, Datatype.FP32, Datatype.FP64):
        numbers = _floats(values, shape, random)
        return (numbers.view(np.uint32) >> 16) if datatype is Datatype.BF16 else numbers
    if values in (Values.ZEROS, Values.ONES):
        return np.full(shape, values is Values.ONES)
    if datatype is Datatype.UINT8 and values is Values.NORMAL:
        return np.asarray(random.integers(0, 256, shape))
    # Numbers of words, categories and masks: small ones are known to every model.
    return np.asarray(random.integers(0, 10 if values is Values.WIDE and datatype is not Datatype.BOOL else 2, shape))


def _floats(values: Values, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if values in (Values.ZEROS, Values.ONES):
        return np.full(shape, values is Values.ONES, np.float32)
    if values is Values.UNIT:
        return np.asarray(random.random(shape, np.float32))
    numbers = np.asarray(random.standard_normal(shape, np.float32))
    if values is Values.NORMAL:
        return numbers
    # Tables have columns from thousandths to ten thousands, and trees ask where they lie.
    return np.asarray(numbers * 10 ** random.uniform(-2, 4, shape), np.float32)


def _strings(values: Values, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    # Digits pass where the model turns strings into numbers.
    choice = {
        Values.NORMAL: ("a", "b"),
        Values.WIDE: ("yes", "no"),
        Values.UNIT: ("0", "1"),
        Values.ZEROS: ("",),
        Values.ONES: ("1",),
    }[values]
    return np.asarray(np.array(choice, dtype=object)[random.integers(0, len(choice), shape)], dtype=object)
