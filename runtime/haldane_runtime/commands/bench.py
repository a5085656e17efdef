"""`haldane-runtime bench`: what this machine makes of a model, and the settings that speak for it.

It measures runs of the engine alone, without transport: what no setting of the server can exceed.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from haldane_runtime.commands.measurement import (
    Cell,
    Settings,
    Together,
    measure,
    measure_together,
    recommend,
    served_rows_per_second,
    thread_counts,
)
from haldane_runtime.commands.subject import Loaded, offered, only, timed_load
from haldane_runtime.commands.text import counted, milliseconds, table
from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.engine.batching import single, sizes
from haldane_runtime.engine.concurrency import LONG_SECONDS
from haldane_runtime.engine.samples import Inputs, take
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.loading import beside_each_other

# Of the time allowed, for runs at once; the rest is for threads and rows.
_SHARE_OF_RUNS = 0.25


def bench(environ: Mapping[str, str], target: str | None, seconds: float, as_json: bool) -> int:
    """Measure for about so many seconds beside the load and print the table; the exit code is 0.

    Raises:
        LoadError: when the model cannot be loaded, or takes none of the inputs tried.
    """
    offer = only(offered(environ, target))
    # One thread or another is what is to be found out.
    loaded = timed_load(replace(offer, settings=replace(offer.settings, intra_op_threads=None)))
    counts = [1] if offer.settings.device == "gpu" else thread_counts(usable_threads())
    found = _measured(loaded, counts, seconds)
    if as_json:
        print(json.dumps(_report(loaded, found), indent=2))
    else:
        print("\n".join(_lines(loaded, found)))
    return 0


@dataclass(frozen=True, slots=True)
class Found:
    """`together` is empty where runs at once are not an issue; `runs` how many of them the server would allow."""

    cells: Sequence[Cell]
    settings: Settings
    together: Sequence[Together]
    runs: int

    @property
    def rows_per_second(self) -> float:
        chosen = next((one for one in self.together if one.runs == self.runs), None)
        return served_rows_per_second(self.settings.cell, chosen)


def _measured(loaded: Loaded, counts: Sequence[int], seconds: float) -> Found:
    model = loaded.model
    if model.inputs is None:
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            "The model takes none of the inputs tried; give golden requests, whose inputs are then measured.",
        )
    limit = max(1, loaded.offer.settings.max_batch_size) if model.profile.batchable else 1
    inputs = take(model.inputs, [0]) if limit == 1 and model.profile.batchable else model.inputs
    model.engine.close()
    try:
        cells = measure(model.reopen, counts, inputs, sizes(limit), (1 - _SHARE_OF_RUNS) * seconds)
        settings = recommend(cells)
        together, runs = _together(loaded, settings, _SHARE_OF_RUNS * seconds)
    except RequestError as error:
        raise LoadError(Reason.INVALID_MODEL, f"The model does not run: {error.message}.") from error
    return Found(cells, settings, together, runs)


def _together(loaded: Loaded, settings: Settings, seconds: float) -> tuple[list[Together], int]:
    """With the threads that the settings give to one run, as a server with these settings would choose at its start."""
    one = settings.cell
    if settings.max_batch_size > 1 or one.p50 < LONG_SECONDS or loaded.model.model.device != "cpu":
        return [], 1
    inputs: Inputs = loaded.model.inputs or {}
    engine = loaded.model.reopen(settings.threads)
    try:
        engine, runs = beside_each_other(engine, settings.threads, loaded.model.reopen, inputs, one.p50)
        return measure_together(
            engine, single(engine.signature, inputs), thread_counts(usable_threads()), seconds
        ), runs
    finally:
        engine.close()


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "HALDANE_INTRA_OP_THREADS": str(settings.threads),
        "HALDANE_MAX_BATCH_SIZE": str(settings.max_batch_size),
    }


def _lines(loaded: Loaded, found: Found) -> list[str]:
    model, settings = loaded.model.model, found.settings
    return [
        f"{model.name}, version {model.version}, on {model.device}: {_machine()}",
        f"Batching: {loaded.model.profile.reason}",
        "",
        _table(found.cells),
        *_runs_lines(found),
        "",
        f"Best: {counted(settings.threads, 'thread')}, batches of up to {counted(settings.max_batch_size, 'row')}: "
        f"{milliseconds(settings.cell.p50)} ms a run, up to {found.rows_per_second:,.0f} rows/s in one server.",
        "The server measures the same, more briefly, at every start; to have it so without measuring:",
        "",
        *(f"  {name}={value}" for name, value in environment_of(settings).items()),
        "",
        "or in the resource:",
        "",
        "  spec:",
        "    runtime:",
        f"      session: {{intraOpThreads: {settings.threads}}}",
        f"      batching: {{maxBatchSize: {settings.max_batch_size}}}",
    ]


def _runs_lines(found: Found) -> list[str]:
    if not found.together:
        return []
    header = ["runs at once", "p50 ms", "runs/s"]
    rows = [[str(one.runs), milliseconds(one.p50), f"{one.per_second:,.1f}"] for one in found.together]
    return [
        "",
        table(header, rows),
        f"The server would allow {counted(found.runs, 'run')} at once, which it measures at every start, "
        "whatever the settings.",
    ]


def _table(cells: Sequence[Cell]) -> str:
    """A line for each number of rows, three columns for each number of threads."""
    counts = sorted({cell.threads for cell in cells})
    by_place = {(cell.rows, cell.threads): cell for cell in cells}
    header = ["rows", *(text for count in counts for text in (f"{count}T p50 ms", "p99 ms", "rows/s"))]
    lines = []
    for rows in sorted({cell.rows for cell in cells}):
        line = [str(rows)]
        for count in counts:
            cell = by_place.get((rows, count))
            line += (
                ["-", "-", "-"]
                if cell is None
                else [milliseconds(cell.p50), milliseconds(cell.p99), f"{cell.rows_per_second:,.0f}"]
            )
        lines.append(line)
    return table(header, lines)


def _report(loaded: Loaded, found: Found) -> dict[str, Any]:
    model, settings = loaded.model.model, found.settings
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "device": model.device,
        "machine": _machine(),
        "batching": {"batchable": loaded.model.profile.batchable, "reason": loaded.model.profile.reason},
        "runs": [
            {
                "threads": cell.threads,
                "rows": cell.rows,
                "runs": cell.runs,
                "p50_seconds": cell.p50,
                "p99_seconds": cell.p99,
                "rows_per_second": round(cell.rows_per_second, 1),
            }
            for cell in found.cells
        ],
        "runs_at_once": [
            {"runs": one.runs, "p50_seconds": one.p50, "runs_per_second": round(one.per_second, 1)}
            for one in found.together
        ],
        "best": {
            "environment": environment_of(settings),
            "runtime": {
                "session": {"intraOpThreads": settings.threads},
                "batching": {"maxBatchSize": settings.max_batch_size},
            },
            "runs_at_once": found.runs,
            "rows_per_second": round(found.rows_per_second, 1),
        },
    }


def _machine() -> str:
    return f"{counted(usable_threads(), 'CPU')} usable of {os.cpu_count()}, {platform.machine()}"
