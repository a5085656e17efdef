"""Several requests as one run and its outputs apart again. Pure."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import accumulate
from math import isfinite

import numpy as np

from haldane_runtime.core.types import Array, InferRequest, ModelSignature

_sum = np.add.reduce

# What must be equal for two requests to share a run; None for a request that runs alone.
MergeKey = Hashable
Sizer = Callable[[InferRequest], tuple[int, MergeKey | None]]


def sizer(signature: ModelSignature, batchable: bool) -> Sizer:
    """A function that gives a request's rows and its merge key.

    Rows are the size of the first dimension, 1 for a model that is not batched. Requests share a
    run when they want the same outputs and their inputs agree in every dimension but the first.
    """
    names = tuple(spec.name for spec in signature.inputs)
    if not batchable:
        return lambda request: (1, None)
    if len(names) == 1 and all(isinstance(dim, int) for dim in signature.inputs[0].shape[1:]):
        only = names[0]

        def fixed(request: InferRequest) -> tuple[int, MergeKey | None]:
            rows = request.inputs[only].shape[0]
            return (rows, request.outputs) if rows else (1, None)

        return fixed

    def dynamic(request: InferRequest) -> tuple[int, MergeKey | None]:
        shapes = [request.inputs[name].shape for name in names]
        rows = shapes[0][0]
        if not rows or any(shape[0] != rows for shape in shapes):
            return 1, None
        return rows, (request.outputs, *(shape[1:] for shape in shapes))

    return dynamic


def merge(requests: Sequence[InferRequest]) -> Mapping[str, Array]:
    """The inputs of all requests, one after the other along the first dimension."""
    first = requests[0].inputs
    if len(requests) == 1:
        return first
    return {name: np.concatenate([request.inputs[name] for request in requests]) for name in first}


def split(outputs: Mapping[str, Array], rows: Sequence[int]) -> list[dict[str, Array]] | None:
    """Each request's share of the outputs, in order; None when an output does not have all the rows."""
    total = sum(rows)
    if any(not array.ndim or array.shape[0] != total for array in outputs.values()):
        return None
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for count, end in zip(rows, accumulate(rows), strict=True)
    ]


def all_finite(outputs: Mapping[str, Array]) -> bool:
    """False when a float output holds NaN or Infinity."""
    with np.errstate(all="ignore"):
        # A sum is finite only if all of its terms are, and costs a third of looking at each. The sum of finite
        # numbers may overflow, so that one that is not finite proves nothing.
        return all(
            isfinite(_sum(array, None)) or bool(np.isfinite(array).all())
            for array in outputs.values()
            if array.dtype.kind == "f"
        )
