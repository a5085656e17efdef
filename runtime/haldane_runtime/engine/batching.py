"""May requests be merged into one run, and up to how many rows does it pay?

Many models look as if their first dimension were a batch and are not: recurrent state lies on another
axis, a softmax or a normalisation runs over the rows, a scalar changes with the batch. So it is proved
on real runs: different requests, run apart and merged, must give each its own answer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import Array, ModelSignature, TensorSpec
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.engine.comparison import Tolerance, first_difference
from haldane_runtime.engine.samples import Inputs, take

# What the server itself spends on a batch, whatever its size: taking it up, merging, splitting.
BATCH_OVERHEAD_SECONDS = 50e-6
# A larger batch must make a row cheaper by this share, or it only makes its neighbours wait.
LEAST_GAIN = 0.05
REPEATS = 9

# Rounding differs with the size of a product; a real dependence on neighbours is far larger.
INDEPENDENT = Tolerance(relative=1e-3, absolute=1e-6, scaled=1e-4)
INDEPENDENT_REDUCED = Tolerance(relative=1e-2, absolute=1e-4, scaled=1e-2)

# Groups of rows that count as one request each, and how the merged runs order them.
_REQUESTS = ([0], [1], [2, 3])
_MERGED = ((0, 1), (1, 2), (2, 0))

# Names that exporters give to a dimension of which they know nothing.
_NO_NAME = frozenset({"", "?", "None", "unk", "-1"})


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds for measurements: `plenty` is always spent when needed, `most` only while batches gain."""

    plenty: float
    most: float


def obstacle(signature: ModelSignature) -> str | None:
    """Why the signature alone forbids batching, as a sentence; None when it does not."""
    if not signature.inputs:
        return "The model has no inputs."
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            # The rank of an output may just be unknown to its exporter: a run will tell.
            if not spec.shape and kind == "input":
                return f"The input '{spec.name}' has no dimensions."
            if spec.shape and isinstance(spec.shape[0], int):
                return f"The first dimension of the {kind} '{spec.name}' is fixed at {spec.shape[0]}."
    for spec in signature.inputs:
        if shared := _shared_dimension(spec, signature):
            return shared
    return None


def _shared_dimension(spec: TensorSpec, signature: ModelSignature) -> str | None:
    rows = spec.shape[0]
    if rows in _NO_NAME:
        return None
    for other in (*signature.inputs, *signature.outputs):
        if rows in other.shape[1:]:
            return (
                f"The first dimension of '{spec.name}', {rows}, is also dimension {other.shape.index(rows, 1)} of "
                f"'{other.name}'."
            )
    return None


def dependence(engine: Engine, rows: Inputs, tolerance: Tolerance) -> str | None:
    """Why merged requests would not get their own answers, as a sentence; None when they do.

    `rows` holds at least four rows of every input.
    """
    names = [spec.name for spec in engine.signature.outputs]
    requests = [take(rows, numbers) for numbers in _REQUESTS]
    try:
        apart = [engine.run(request, names) for request in requests]
    except RequestError as error:
        return f"The model does not run on one row and on two: {error.message}."
    for spec in engine.signature.outputs:
        for numbers, outputs in zip(_REQUESTS, apart, strict=True):
            if outputs[spec.name].shape[:1] != (len(numbers),):
                shape = list(outputs[spec.name].shape)
                return f"The output '{spec.name}' has the shape {shape} for {len(numbers)} rows."
    for group in _MERGED:
        numbers = [number for request in group for number in _REQUESTS[request]]
        alone = {name: np.concatenate([apart[request][name] for request in group]) for name in names}
        if found := _disagreement(engine, take(rows, numbers), alone, tolerance):
            return found
    if all(_same(apart[0][name], apart[1][name]) for name in names):
        return "The outputs are the same for all inputs tried, so that nothing shows whether rows are independent."
    return None


def _disagreement(engine: Engine, inputs: Inputs, alone: Mapping[str, Array], tolerance: Tolerance) -> str | None:
    try:
        together = engine.run(inputs, list(alone))
    except RequestError as error:
        return f"The model does not run on merged requests: {error.message}."
    if difference := first_difference(engine.signature.outputs, together, alone, tolerance):
        return f"A row's answer changes with the rows beside it: {difference}."
    return None


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def profile(
    engine: Engine,
    rows: Inputs | None,
    limit: int,
    budget: Budget,
    tolerance: Tolerance = INDEPENDENT,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchProfile:
    """Prove and measure. `rows` are inputs the model takes, None when it took none; `limit` is in rows."""
    if rows is None:
        return BatchProfile(False, "The model takes none of the inputs tried.", 1, {})
    if limit == 1:
        return _alone(engine, rows, "Batching is switched off.", budget, clock)
    if reason := obstacle(engine.signature) or dependence(engine, rows, tolerance):
        return _alone(engine, rows, reason, budget, clock)
    expected = engine.run(rows, [spec.name for spec in engine.signature.outputs])
    seconds: dict[int, float] = {}
    # What else runs on the machine only ever adds to a time: the least of several tells sizes apart best.
    least: dict[int, float] = {}
    started = clock()
    for size in sizes(limit):
        numbers = [row % len(_first(rows)) for row in range(size)]
        inputs = take(rows, numbers)
        # Also the run that is not timed: the first of a size allocates.
        if found := _disagreement(engine, inputs, take(expected, numbers), tolerance):
            if size <= 2:
                return _alone(engine, rows, found, budget, clock)
            break
        times = _times(engine, inputs, clock, budget.plenty / 8)
        seconds[size], least[size] = median(times), min(times)
        if not worth_doubling(least, clock() - started, budget):
            break
    best = best_size(least)
    gain = f"batches up to {best} rows pay" if best > 1 else "but larger batches gain nothing"
    return BatchProfile(True, f"Requests answered apart and merged agree; {gain}.", best, seconds)


def _alone(engine: Engine, inputs: Inputs, reason: str, budget: Budget, clock: Callable[[], float]) -> BatchProfile:
    one = take(inputs, [0]) if obstacle(engine.signature) is None else inputs
    try:
        seconds = {1: median(_times(engine, one, clock, budget.plenty / 8))}
    except RequestError:
        seconds = {}
    return BatchProfile(False, reason, 1, seconds)


def sizes(limit: int) -> list[int]:
    """1, 2, 4, … and `limit` itself."""
    return [*(1 << power for power in range((limit - 1).bit_length())), limit]


def best_size(seconds: Mapping[int, float]) -> int:
    """The smallest batch whose rows cost at most `LEAST_GAIN` more than in the best one."""
    cost = {size: (run + BATCH_OVERHEAD_SECONDS) / size for size, run in seconds.items()}
    limit = min(cost.values()) * (1 + LEAST_GAIN)
    return min(size for size, one in cost.items() if one <= limit)


def worth_doubling(seconds: Mapping[int, float], spent: float, budget: Budget) -> bool:
    """Go on to the next size? Within `plenty` always, then only while the last doubling gained."""
    last = max(seconds)
    # A run of twice the rows takes about twice as long, and it runs at least twice.
    ahead = spent + 4 * seconds[last]
    if ahead <= budget.plenty or len(seconds) == 1:
        return ahead <= budget.most
    before = sorted(seconds)[-2]
    gained = seconds[last] / last < (1 - LEAST_GAIN) * seconds[before] / before
    return gained and ahead <= budget.most


def least_seconds(engine: Engine, inputs: Inputs, clock: Callable[[], float], slice_seconds: float) -> float:
    """The shortest of several runs within `slice_seconds`, at least one, after one that is not counted.

    Raises:
        RequestError: as `Engine.run`.
    """
    engine.run(inputs, [spec.name for spec in engine.signature.outputs])
    return min(_times(engine, inputs, clock, slice_seconds))


def _times(engine: Engine, inputs: Inputs, clock: Callable[[], float], slice_seconds: float) -> list[float]:
    names: Sequence[str] = [spec.name for spec in engine.signature.outputs]
    times: list[float] = []
    end = clock() + slice_seconds
    while not times or (len(times) < REPEATS and clock() < end):
        started = clock()
        engine.run(inputs, names)
        times.append(clock() - started)
    return times


def _first(inputs: Inputs) -> Array:
    return next(iter(inputs.values()))
