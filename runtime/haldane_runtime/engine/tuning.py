"""As many threads for one run as a measurement on this machine says pay."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from haldane_runtime.core.errors import RequestError
from haldane_runtime.engine import threads
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.batching import least_seconds, obstacle
from haldane_runtime.engine.samples import ROWS, take
from haldane_runtime.engine.trial import Trial

# A batch as it comes under load, and so much time to look at each size.
_LARGER_BATCH = 4 * ROWS
_SLICE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Tuned:
    """An open engine, how many threads it got and inputs that it takes."""

    engine: Engine
    threads: int
    trial: Trial


def open_tuned(
    open_with: Callable[[int], Engine],
    find: Callable[[Engine], Trial],
    model_bytes: int,
    available: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuned:
    """Open with one thread and, when its runs are long enough to be shared out, with `available`; keep the faster.

    Raises:
        LoadError: as `open_with` does.
    """
    count = threads.first_attempt(model_bytes, available)
    engine = open_with(count)
    trial = find(engine)
    if count > 1:
        return Tuned(engine, count, trial)
    single = _seconds(engine, trial, clock)
    if not threads.worth_another_attempt(single, available):
        return Tuned(engine, 1, trial)
    other = open_with(available)
    if threads.all_threads_pay(single, _seconds(other, trial, clock)):
        engine.close()
        return Tuned(other, available, trial)
    other.close()
    return Tuned(engine, 1, trial)


def _seconds(engine: Engine, trial: Trial, clock: Callable[[], float]) -> dict[int, float]:
    """Measured seconds by rows: of one row and, where rows may perhaps be merged, of a larger batch."""
    if trial.inputs is None:
        return {}
    if obstacle(engine.signature):
        return {1: least_seconds(engine, trial.inputs, clock, _SLICE_SECONDS)}
    seconds = {1: least_seconds(engine, take(trial.inputs, [0]), clock, _SLICE_SECONDS)}
    # A slow model has shown enough: one row of it is plenty to share out.
    if seconds[1] < _SLICE_SECONDS:
        batch = take(trial.inputs, [row % ROWS for row in range(_LARGER_BATCH)])
        try:
            seconds[_LARGER_BATCH] = least_seconds(engine, batch, clock, _SLICE_SECONDS)
        except RequestError:
            return seconds
    return seconds
