"""How many runs at once pay on the CPU, for a model that gains nothing by larger batches.

What one run cannot share out, such as its small or memory-bound layers, leaves threads idle that another run can use;
and the server's own work for one request then goes on beside another's run.
"""

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from haldane_runtime.core.errors import RequestError
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.samples import Inputs

log = logging.getLogger(__name__)

# Shorter runs are over before handing them to another thread has paid.
LONG_SECONDS = 0.005
# Two at once are kept unless they do harm, also as seen in a busy moment of the machine, since the measurement does not
# show what the server gains by them; each doubling after that must earn the memory of its runs.
_MOST_OF_TWO = 1.15
_MOST_OF_MORE = 0.95
_TURNS = 3


def runs_at_once(
    engine: Engine,
    inputs: Inputs,
    row_seconds: float,
    threads: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """1, 2, 4, ...: the largest number that finishes more requests than the one before, at most `threads`.

    `inputs` are one request's, of which a run takes `row_seconds`. At most about `seconds` are spent; a model that is too
    slow for a measurement within them runs once at a time.
    """
    if row_seconds < LONG_SECONDS or engine.device != "cpu":
        return 1
    try:
        return _measured(engine, inputs, row_seconds, threads, seconds, clock)
    except RequestError:
        # What one run takes, several at once may not: its memory above all.
        return 1


def _measured(
    engine: Engine, inputs: Inputs, row_seconds: float, threads: int, seconds: float, clock: Callable[[], float]
) -> int:
    best, each = 1, row_seconds
    told = [f"1: {1e3 * row_seconds:.3g}"]
    # Both sides of each comparison are measured anew and in turns: what the machine does meanwhile then slows both.
    spent = 0.0
    while 2 * best <= threads:
        turns = min(_TURNS, int((seconds - spent) / (3 * best * each)))
        if turns < 1:
            break
        before = math.inf
        doubled = math.inf
        for _ in range(turns):
            before = min(before, _seconds_each(engine, inputs, best, clock))
            doubled = min(doubled, _seconds_each(engine, inputs, 2 * best, clock))
        spent += turns * best * (before + 2 * doubled)
        told.append(f"{2 * best}: {1e3 * doubled:.3g}")
        if doubled > before * (_MOST_OF_TWO if best == 1 else _MOST_OF_MORE):
            break
        best, each = 2 * best, doubled
    log.info("milliseconds a run by runs at once: %s", ", ".join(told))
    return best


def _seconds_each(engine: Engine, inputs: Inputs, runs: int, clock: Callable[[], float]) -> float:
    """Seconds until so many runs, begun together, are all over, divided by their number.

    Raises:
        RequestError: of one that failed.
    """
    outputs = [spec.name for spec in engine.signature.outputs]
    with ThreadPoolExecutor(runs) as pool:
        started = clock()
        for future in [pool.submit(engine.run, inputs, outputs) for _ in range(runs)]:
            future.result()
        return (clock() - started) / runs
