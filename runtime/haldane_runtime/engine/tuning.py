"""As many threads for one run as a measurement on this machine says pay."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from haldane_runtime.core.errors import RequestError
from haldane_runtime.engine import threads
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.batching import least_seconds, obstacle, single
from haldane_runtime.engine.samples import ROWS, Inputs, take
from haldane_runtime.engine.trial import Trial

log = logging.getLogger(__name__)

# A batch as it comes under load, and so much time to look at each size.
_LARGER_BATCH = 4 * ROWS
_SLICE_SECONDS = 0.005
_TURNS = 2
# From here on the first run of a session is as telling as a second, which would cost too much.
_SLOW_SECONDS = 0.1


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
    shared = _seconds(other, replace(trial, seconds=0.0), clock)
    if trial.seconds < _SLOW_SECONDS:
        # In turns, since one look may fall into a moment in which the machine is busy with something else.
        for _ in range(_TURNS):
            single = _least(single, _seconds(engine, replace(trial, seconds=_once(engine, trial, clock)), clock))
            shared = _least(shared, _seconds(other, replace(trial, seconds=_once(other, trial, clock)), clock))
    log.info("milliseconds by rows: %s with one thread, %s with %d", _told(single), _told(shared), available)
    if threads.all_threads_pay(single, shared, threads.least_speedup(single)):
        engine.close()
        return Tuned(other, available, replace(trial, seconds=shared[1]))
    other.close()
    return Tuned(engine, 1, trial)


def _seconds(engine: Engine, trial: Trial, clock: Callable[[], float]) -> dict[int, float]:
    """Measured seconds by rows: of one row and, where rows may perhaps be merged, of a larger batch.

    A model that is slow is not run more often than it must: one row shows enough, and what the trial took
    counts, unless that is 0 for another engine's.
    """
    inputs = trial.inputs
    if inputs is None:
        return {}
    if not trial.seconds:
        # The first run of a session pays for what no later one does; of a slow model it hardly shows.
        first = _once(engine, trial, clock)
        trial = replace(trial, seconds=first if first > _SLOW_SECONDS else _once(engine, trial, clock))
    if trial.seconds > _SLICE_SECONDS:
        return {1: trial.seconds}
    seconds = {1: least_seconds(engine, _one(engine, trial), clock, _SLICE_SECONDS)}
    if obstacle(engine.signature) is None:
        batch = take(inputs, [row % ROWS for row in range(_LARGER_BATCH)])
        with suppress(RequestError):
            seconds[_LARGER_BATCH] = least_seconds(engine, batch, clock, _SLICE_SECONDS)
    return seconds


def _least(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {rows: min(seconds, other.get(rows, seconds)) for rows, seconds in one.items()}


def _told(seconds: Mapping[int, float]) -> str:
    return ", ".join(f"{rows}: {1e3 * one:.3g}" for rows, one in seconds.items())


def _one(engine: Engine, trial: Trial) -> Inputs:
    return single(engine.signature, trial.inputs or {})


def _once(engine: Engine, trial: Trial, clock: Callable[[], float]) -> float:
    started = clock()
    engine.run(_one(engine, trial), [spec.name for spec in engine.signature.outputs])
    return clock() - started
