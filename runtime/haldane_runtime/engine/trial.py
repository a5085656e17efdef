"""Inputs that the model really takes: rows of its golden requests, or made-up ones that ran."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.core.types import Array, ModelSignature
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.batching import obstacle
from haldane_runtime.engine.samples import ROWS, Inputs, Values, make, recipes, take

log = logging.getLogger(__name__)

TRIAL_SECONDS = 1.0
_BEST = 3
# A model that takes longer than this is not run again and again to find out more about it.
_SLOW_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """`inputs` that the model ran on, or None and the `refusal` of the first that it did not take.

    When the signature may be batched, the inputs hold `ROWS` rows, and any of them runs alone.
    `seconds` is what a run took: of one row then, of the inputs as they are otherwise.
    """

    inputs: Inputs | None
    refusal: str = ""
    seconds: float = 0.0


def find_inputs(
    engine: Engine,
    signature: ModelSignature | None = None,
    vocabulary: Callable[[], Mapping[str, list[Any]]] = dict,
    seconds: float = TRIAL_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Made-up inputs on which the model runs, best with finite answers that differ between rows.

    `signature` narrows the engine's own, to dimensions known from elsewhere; `vocabulary` is asked for the
    words that the model knows when nothing else will do. After `seconds` the best so far is taken.
    """
    signature = signature or engine.signature
    rows = 1 if obstacle(engine.signature) else ROWS
    best, merit, refusal, took = None, 0, "", 0.0
    end = clock() + seconds
    known: Mapping[str, list[Any]] | None = None
    for recipe in recipes(signature):
        if recipe.values is Values.KNOWN and known is None:
            known = vocabulary()
        if recipe.values is Values.KNOWN and not known:
            continue
        inputs = make(signature, recipe, rows, known or {})
        try:
            one, run = _merit(engine, inputs, rows, clock)
        except RequestError as error:
            refusal = refusal or error.message
        else:
            if one > merit:
                best, merit, took = inputs, one, run
        if merit == _BEST or clock() > end:
            break
    return Trial(best, refusal, took)


def _merit(engine: Engine, inputs: Inputs, rows: int, clock: Callable[[], float]) -> tuple[int, float]:
    """1 for having run, 2 when the answers are finite, 3 when they also differ between rows; and the run's seconds.

    Raises:
        RequestError: the model does not take these inputs.
    """
    names = [spec.name for spec in engine.signature.outputs]
    # Twice also where there is but one row: a first run pays for what no later one does, and a container that is
    # short of CPU stands still for a tenth of a second now and then. Not twice, one may hope.
    requests = [inputs, inputs] if rows == 1 else [take(inputs, [number]) for number in range(rows)]
    answers: list[dict[str, Array]] = []
    seconds, varied = math.inf, rows == 1
    for request in requests:
        started = clock()
        answers.append(engine.run(request, names))
        seconds = min(seconds, clock() - started)
        varied = varied or any(not np.array_equal(answers[0][name], answers[-1][name]) for name in names)
        if len(answers) > 1 and (varied or seconds > _SLOW_SECONDS):
            break
    if not all(_finite(answer[name]) for answer in answers for name in names):
        return 1, seconds
    return (_BEST if varied else 2), seconds


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def require_run(engine: Engine, trial: Trial) -> None:
    """On a CPU made-up inputs may be rightly refused; on a GPU a run is how a driver that does not work shows itself.

    Raises:
        LoadError: LoadFailed, when nothing ran on a GPU.
    """
    if trial.inputs is not None:
        return
    if engine.device == "gpu":
        raise LoadError(
            Reason.LOAD_FAILED,
            f"The model does not run on the GPU: {trial.refusal}; if it needs special inputs, give golden requests.",
        )
    log.warning("no inputs to warm up with: the model refuses all that were tried: %s", trial.refusal)


def rows_of(engine: Engine, requests: Sequence[Inputs], clock: Callable[[], float] = time.perf_counter) -> Trial:
    """The rows of known good requests; made-up ones beside them when there is but one row.

    Requests whose other dimensions differ from the first one's are left out, and so are those whose
    inputs have different numbers of rows.
    """
    if obstacle(engine.signature):
        return _timed(engine, requests[0], requests[0], clock)
    even = [request for request in requests if len({len(array) for array in request.values()}) == 1]
    alike = [request for request in even if _inner(request) == _inner(even[0])]
    rows = {name: np.concatenate([request[name] for request in alike]) for name in requests[0]} if alike else {}
    count = min((len(array) for array in rows.values()), default=0)
    if not count:
        return find_inputs(engine)
    if count == 1:
        several = _with_others(engine, rows)
        return _timed(engine, several, take(several, [0]), clock)
    # Spread over all of them: neighbours may be alike.
    step = max(1, count // ROWS)
    several = take(rows, [number * step % count for number in range(ROWS)])
    return _timed(engine, several, take(several, [0]), clock)


def _with_others(engine: Engine, row: Inputs) -> Inputs:
    specs = tuple(replace(spec, shape=(spec.shape[0], *row[spec.name].shape[1:])) for spec in engine.signature.inputs)
    others = find_inputs(engine, ModelSignature(specs, engine.signature.outputs)).inputs
    if others is None:
        return take(row, [0] * ROWS)
    return {name: np.concatenate([array, others[name][1:]]) for name, array in row.items()}


def _timed(engine: Engine, inputs: Inputs, request: Inputs, clock: Callable[[], float]) -> Trial:
    names = [spec.name for spec in engine.signature.outputs]
    seconds = math.inf
    try:
        for _ in range(2):
            started = clock()
            engine.run(request, names)
            seconds = min(seconds, clock() - started)
    except RequestError as error:
        return Trial(None, error.message)
    return Trial(inputs, "", seconds)


def _inner(request: Inputs) -> list[tuple[int, ...]]:
    return [request[name].shape[1:] for name in sorted(request)]
