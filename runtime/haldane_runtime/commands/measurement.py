"""How long runs of a model take over threads and rows, and which settings that speaks for."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from haldane_runtime.core.errors import RequestError
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.batching import BATCH_OVERHEAD_SECONDS, best_size
from haldane_runtime.engine.samples import Inputs, take
from haldane_runtime.engine.threads import LEAST_SPEEDUP, LONG_SECONDS, all_threads_pay

LEAST_RUNS = 3
MOST_RUNS = 2000

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Cell:
    """Runs of `rows` rows with `threads` threads: the median and the 99th percentile in seconds."""

    threads: int
    rows: int
    runs: int
    p50: float
    p99: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.p50


@dataclass(frozen=True, slots=True)
class Settings:
    """What the measurement speaks for; `cell` is the run they lead to under load."""

    threads: int
    max_batch_size: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class Together:
    """So many `runs` under way at every moment: `p50` of one of them in seconds, and how many end in a second."""

    runs: int
    p50: float
    per_second: float


def thread_counts(available: int) -> list[int]:
    """1, 2, 4, … and all that may be used."""
    return sorted({*(1 << power for power in range(available.bit_length()) if 1 << power <= available), available})


def measure(
    open_with: Callable[[int], Engine],
    threads: Sequence[int],
    inputs: Inputs,
    rows: Sequence[int],
    seconds: float,
    clock: Clock = time.perf_counter,
) -> list[Cell]:
    """Time every combination, each within its share of `seconds`; larger batches are left out once one run takes more.

    With a single entry in `rows` the inputs are run as they are; otherwise rows are taken from them.

    Raises:
        LoadError: as `open_with`.
        RequestError: when the model does not run on the inputs.
    """
    cells: list[Cell] = []
    end = clock() + seconds
    for number, count in enumerate(threads):
        engine = open_with(count)
        try:
            for place, size in enumerate(rows):
                left = (len(threads) - number) * len(rows) - place
                share = max(0.0, end - clock()) / left
                cell = _cell(engine, count, size, _inputs(inputs, rows, size), share, clock)
                if cell is None:
                    break
                cells.append(cell)
        finally:
            engine.close()
    return cells


def _inputs(inputs: Inputs, rows: Sequence[int], size: int) -> Inputs:
    if len(rows) == 1:
        return inputs
    known = min(len(array) for array in inputs.values())
    return take(inputs, [row % known for row in range(size)])


def _cell(engine: Engine, threads: int, rows: int, inputs: Inputs, share: float, clock: Clock) -> Cell | None:
    """None when a first run already takes more than its share, unless it is the smallest batch."""
    names = [spec.name for spec in engine.signature.outputs]
    started = clock()
    try:
        engine.run(inputs, names)
    except RequestError:
        if rows == 1:
            raise
        return None
    if rows > 1 and clock() - started > share:
        return None
    times: list[float] = []
    while len(times) < LEAST_RUNS or (clock() - started < share and len(times) < MOST_RUNS):
        before = clock()
        engine.run(inputs, names)
        times.append(clock() - before)
    times.sort()
    return Cell(threads, rows, len(times), median(times), times[math.ceil(0.99 * len(times)) - 1])


def measure_together(
    engine: Engine, inputs: Inputs, counts: Sequence[int], seconds: float, clock: Clock = time.perf_counter
) -> list[Together]:
    """Keep 1, 2, 4, ... runs of the same session under way, each number for its share of `seconds`.

    Ends before the number at which they fail together, for want of memory above all.

    Raises:
        RequestError: when the model does not run on the inputs alone.
    """
    found: list[Together] = []
    for count in counts:
        try:
            found.append(_together(engine, inputs, count, seconds / len(counts), clock))
        except RequestError:
            if not found:
                raise
            break
    return found


def _together(engine: Engine, inputs: Inputs, count: int, share: float, clock: Clock) -> Together:
    names = [spec.name for spec in engine.signature.outputs]

    def run_on(_: int) -> list[float]:
        times: list[float] = []
        while len(times) < LEAST_RUNS or (clock() - started < share and len(times) < MOST_RUNS):
            before = clock()
            engine.run(inputs, names)
            times.append(clock() - before)
        return times

    with ThreadPoolExecutor(count) as pool:
        started = clock()
        times = [one for some in pool.map(run_on, range(count)) for one in some]
        # The last of each thread end at different times: what each makes a second, added up, is not led astray by that.
        return Together(count, median(times), count / (sum(times) / len(times)))


def recommend(cells: Sequence[Cell]) -> Settings:
    """More threads where they make runs enough faster, and the smallest batch that is about as cheap a row as any.

    The same rules as at load, on more and longer measurements: where a quick look at long runs allows for a busy moment,
    more threads need only not to be slower.
    """
    by_threads: dict[int, dict[int, Cell]] = {}
    for cell in cells:
        by_threads.setdefault(cell.threads, {})[cell.rows] = cell
    counts = sorted(by_threads)
    chosen = counts[0]
    for count in counts[1:]:
        before = _seconds(by_threads[chosen])
        least = 1.0 if before.get(1, 0.0) > LONG_SECONDS else LEAST_SPEEDUP
        if all_threads_pay(before, _seconds(by_threads[count]), least):
            chosen = count
    size = best_size(_seconds(by_threads[chosen]))
    return Settings(chosen, size, by_threads[chosen][size])


def _seconds(cells: Mapping[int, Cell]) -> dict[int, float]:
    return {rows: cell.p50 for rows, cell in cells.items()}


def served_rows_per_second(cell: Cell, together: Together | None = None) -> float:
    """With what the server adds to a run of the engine: the most that one process could serve.

    With several runs at once it adds that beside another's run.
    """
    if together is not None and together.runs > 1:
        return together.per_second
    return cell.rows / (cell.p50 + BATCH_OVERHEAD_SECONDS)
