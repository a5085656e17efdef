"""Does a row get its own answer, whatever the rows beside it?

Many models look as if their first dimension were a batch and are not: recurrent state lies on another
axis, a softmax or a normalisation runs over the rows, a scalar changes with the batch. So it is proved
on real runs: different requests, run apart and merged, must give each its own answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import Array, ModelSignature
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.comparison import FLOATS, Tolerance, as_numbers, first_difference
from haldane_runtime.engine.samples import ROWS, Inputs, louder, take

# Rounding differs with the size of a product; a real dependence on neighbours is far larger.
INDEPENDENT = Tolerance(relative=1e-3, absolute=1e-6, scaled=1e-4)
INDEPENDENT_REDUCED = Tolerance(relative=1e-2, absolute=1e-4, scaled=1e-2)

# Groups of rows that count as one request each, and how the merged runs order them.
_REQUESTS = ([0], [1], [2, 3])
_MERGED = ((0, 2), (2, 1))
# What is scaled by the largest number of a batch loses its small ones. Rows that are of one size lose less than the
# tolerance: the first one so much larger shows it, in one merged run with these.
_LOUD = 100.0
_QUIET = [1, 2, 3]


@dataclass(frozen=True, slots=True)
class Proof:
    """`dependence` is why merged requests would not get their own answers, as a sentence; None when they do.

    `answers` holds, by output, what each of the first four rows gets when it is asked for alone.
    """

    dependence: str | None
    answers: Mapping[str, Array]


def prove(engine: Engine, rows: Inputs, tolerance: Tolerance) -> Proof:
    """Run requests apart and merged; `rows` holds at least four rows of every input."""
    specs = engine.signature.outputs
    names = [spec.name for spec in specs]
    try:
        apart = [engine.run(take(rows, numbers), names) for numbers in _REQUESTS]
    except RequestError as error:
        return Proof(f"The model does not run on one row and on two: {error.message}.", {})
    for name in names:
        inner = apart[0][name].shape[1:]
        for numbers, outputs in zip(_REQUESTS, apart, strict=True):
            shape = outputs[name].shape
            if shape != (len(numbers), *inner):
                return Proof(f"The output '{name}' has the shape {list(shape)} for {len(numbers)} rows.", {})
    again = _rerun(engine, take(rows, _REQUESTS[0]), names)
    if again is None or first_difference(specs, again, apart[0], tolerance):
        return Proof("The model answers the same request in different ways.", {})
    for group in _MERGED:
        alone = {name: np.concatenate([apart[request][name] for request in group]) for name in names}
        numbers = [number for request in group for number in _REQUESTS[request]]
        if found := disagreement(engine, take(rows, numbers), alone, tolerance):
            return Proof(found, {})
    answers = {name: np.concatenate([outputs[name] for outputs in apart]) for name in names}
    if found := _flattened(engine, rows, answers, tolerance):
        return Proof(found, {})
    if all(_same(answer[row], answer[0]) for answer in answers.values() for row in range(1, ROWS)):
        return Proof(
            "The outputs are the same for all inputs tried, so that nothing shows whether rows are independent; give "
            "golden requests.",
            {},
        )
    return Proof(None, answers)


def _rerun(engine: Engine, inputs: Inputs, names: Sequence[str]) -> dict[str, Array] | None:
    try:
        return engine.run(inputs, names)
    except RequestError:
        return None


def disagreement(engine: Engine, inputs: Inputs, alone: Mapping[str, Array], tolerance: Tolerance) -> str | None:
    """Why a merged run does not give its rows the answers they get alone, as a sentence; None when it does."""
    try:
        together = engine.run(inputs, list(alone))
    except RequestError as error:
        return f"The model does not run on merged requests: {error.message}."
    return _changed(engine, together, alone, tolerance)


def _flattened(engine: Engine, rows: Inputs, answers: Mapping[str, Array], tolerance: Tolerance) -> str | None:
    """Do rows keep their answers beside one of far larger numbers? Only if that one is fine when it is alone."""
    loud = louder(engine.signature, rows, 0, _LOUD)
    alone = _rerun(engine, take(loud, [0]), list(answers)) if loud else None
    if loud is None or alone is None or not _finite(engine.signature, alone):
        return None
    try:
        together = engine.run(take(loud, [0, *_QUIET]), list(answers))
    except RequestError as error:
        return f"The model does not run on merged requests: {error.message}."
    # Without the loud one's answer, which would make the tolerance as large as itself.
    quiet = {name: array[1:] for name, array in together.items()}
    return _changed(engine, quiet, take(answers, _QUIET), tolerance)


def _finite(signature: ModelSignature, outputs: Mapping[str, Array]) -> bool:
    return all(
        bool(np.isfinite(as_numbers(spec.datatype, outputs[spec.name])).all())
        for spec in signature.outputs
        if spec.datatype in FLOATS
    )


def _changed(
    engine: Engine, together: Mapping[str, Array], alone: Mapping[str, Array], tolerance: Tolerance
) -> str | None:
    if difference := first_difference(engine.signature.outputs, together, alone, tolerance):
        return f"A row's answer changes with the rows beside it: {difference}."
    return None


def _same(one: Array, other: Array) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
