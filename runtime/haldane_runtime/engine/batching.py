"""May requests be merged into one run, and up to how many rows does it pay?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import ModelSignature, TensorSpec
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.engine.comparison import Tolerance
from haldane_runtime.engine.independence import INDEPENDENT, Proof, disagreement, prove
from haldane_runtime.engine.samples import ROWS, Inputs, take

# What the server itself spends on a batch, whatever its size: taking it up, merging, splitting.
BATCH_OVERHEAD_SECONDS = 50e-6
# A larger batch must make a row cheaper by this share, or it only makes its neighbours wait.
LEAST_GAIN = 0.05
REPEATS = 9
# Runs from here on are looked at before a proof, which would take a dozen of them.
_LONG_SECONDS = 0.005
_TURNS = 2
# Rows of all runs of a proof, and of the first ones that are measured.
_PROOF_ROWS = 18

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


def single(signature: ModelSignature, inputs: Inputs) -> Inputs:
    """One request's part of the inputs: their first row where they have rows, else all of them."""
    return take(inputs, [0]) if obstacle(signature) is None else inputs


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


def profile(
    engine: Engine,
    rows: Inputs | None,
    row_seconds: float,
    limit: int,
    budget: Budget,
    tolerance: Tolerance = INDEPENDENT,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchProfile:
    """Prove and measure.

    `rows` are inputs the model takes, None when it took none, `row_seconds` what one row of them took;
    `limit` is in rows.
    """
    if rows is None:
        return BatchProfile(False, "The model takes none of the inputs tried; give golden requests.", 1, {})

    def alone(reason: str) -> BatchProfile:
        if row_seconds > budget.plenty:
            return BatchProfile(False, reason, 1, {1: row_seconds})
        one = single(engine.signature, rows)
        return BatchProfile(False, reason, 1, {1: median(_times(engine, one, clock, budget.plenty / 8))})

    if limit == 1:
        return alone("Batching is switched off.")
    if reason := obstacle(engine.signature):
        return alone(reason)
    if row_seconds * _PROOF_ROWS > budget.most:
        return alone(f"One row takes {row_seconds:.2g} s, too long to prove that rows are independent before serving.")
    if row_seconds > _LONG_SECONDS and (reason := _no_gain(engine, rows, row_seconds, clock)):
        return alone(reason)
    proof = prove(engine, rows, tolerance)
    if proof.dependence:
        return alone(proof.dependence)
    seconds, reason = _measure(engine, rows, proof, sizes(limit), budget, tolerance, clock)
    if not seconds:
        return alone(reason)
    best = best_size({size: min(times) for size, times in seconds.items()})
    gain = f"batches up to {best} rows pay" if best > 1 else "but larger batches gain nothing"
    medians = {size: median(times) for size, times in seconds.items()}
    return BatchProfile(True, f"Requests answered apart and merged agree; {gain}.", best, medians)


def _no_gain(engine: Engine, rows: Inputs, row_seconds: float, clock: Callable[[], float]) -> str | None:
    """Why a proof is not worth its time, as a sentence: two rows of a long run cost as much together as apart."""
    try:
        seconds = {1: row_seconds, 2: least_seconds(engine, take(rows, [0, 1]), clock, 0.0)}
    except RequestError as error:
        return f"The model does not run on two rows: {error.message}."
    if _gains(seconds, 1, 2):
        return None
    return f"Larger batches gain nothing: one row takes {1e3 * seconds[1]:.3g} ms, two take {1e3 * seconds[2]:.3g} ms."


def _measure(
    engine: Engine,
    rows: Inputs,
    proof: Proof,
    wanted: list[int],
    budget: Budget,
    tolerance: Tolerance,
    clock: Callable[[], float],
) -> tuple[dict[int, list[float]], str]:
    """Times by size, and why there are no more. Each size is also held against the answers of its rows alone.

    The sizes take turns, because a machine is busy for milliseconds at a time; what else it runs only
    ever adds to a time, so that the least of several tells sizes apart best.
    """
    times: dict[int, list[float]] = {}
    started = clock()
    for size in wanted:
        numbers = [row % ROWS for row in range(size)]
        inputs = take(rows, numbers)
        # Also the run that is not timed: the first of a size allocates.
        if found := disagreement(engine, inputs, take(proof.answers, numbers), tolerance):
            return (times if size > 2 else {}), found
        times[size] = _times(engine, inputs, clock, budget.plenty / 8)
        if not worth_doubling({size: min(some) for size, some in times.items()}, clock() - started, budget):
            break
    for _ in range(_TURNS):
        for size in times:
            if clock() - started < budget.plenty:
                inputs = take(rows, [row % ROWS for row in range(size)])
                times[size] += _times(engine, inputs, clock, budget.plenty / 8)
    return times, ""


def sizes(limit: int) -> list[int]:
    """1, 2, 4, … and `limit` itself."""
    return [*(1 << power for power in range((limit - 1).bit_length())), limit]


def best_size(seconds: Mapping[int, float]) -> int:
    """The smallest batch whose rows cost at most `LEAST_GAIN` more than in the best one."""
    limit = min(_row_cost(seconds, size) for size in seconds) * (1 + LEAST_GAIN)
    return min(size for size in seconds if _row_cost(seconds, size) <= limit)


def _row_cost(seconds: Mapping[int, float], size: int) -> float:
    return (seconds[size] + BATCH_OVERHEAD_SECONDS) / size


def worth_doubling(seconds: Mapping[int, float], spent: float, budget: Budget) -> bool:
    """Go on to the next size? Within `plenty` always, then only while the last doubling gained."""
    last = max(seconds)
    # A run of twice the rows takes about twice as long, and it runs at least twice.
    ahead = spent + 4 * seconds[last]
    if ahead <= budget.plenty or len(seconds) == 1:
        return ahead <= budget.most
    before = sorted(seconds)[-2]
    return _gains(seconds, before, last) and ahead <= budget.most


def _gains(seconds: Mapping[int, float], size: int, larger: int) -> bool:
    return _row_cost(seconds, larger) < (1 - LEAST_GAIN) * _row_cost(seconds, size)


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
