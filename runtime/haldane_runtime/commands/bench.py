"""`haldane-runtime bench`: what this machine makes of a model, and the settings that speak for it.

It measures runs of the engine alone, without transport: what no setting of the server can exceed.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from haldane_runtime.commands.measurement import (
    Cell,
    Settings,
    measure,
    recommend,
    served_rows_per_second,
    thread_counts,
)
from haldane_runtime.commands.subject import Loaded, offered, only, timed_load
from haldane_runtime.commands.text import counted, milliseconds, table
from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.engine.batching import sizes
from haldane_runtime.engine.samples import take
from haldane_runtime.engine.threads import usable_threads


def bench(environ: Mapping[str, str], target: str | None, seconds: float, as_json: bool) -> int:
    """Measure for about so many seconds beside the load and print the table; the exit code is 0.

    Raises:
        LoadError: when the model cannot be loaded, or takes none of the inputs tried.
    """
    offer = only(offered(environ, target))
    # One thread or another is what is to be found out.
    loaded = timed_load(replace(offer, settings=replace(offer.settings, intra_op_threads=None)))
    counts = [1] if offer.settings.device == "gpu" else thread_counts(usable_threads())
    cells = _cells(loaded, counts, seconds)
    settings = recommend(cells)
    if as_json:
        print(json.dumps(_report(loaded, cells, settings), indent=2))
    else:
        print("\n".join(_lines(loaded, cells, settings)))
    return 0


def _cells(loaded: Loaded, counts: Sequence[int], seconds: float) -> list[Cell]:
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
        return measure(model.reopen, counts, inputs, sizes(limit), seconds)
    except RequestError as error:
        raise LoadError(Reason.INVALID_MODEL, f"The model does not run: {error.message}.") from error


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "HALDANE_INTRA_OP_THREADS": str(settings.threads),
        "HALDANE_MAX_BATCH_SIZE": str(settings.max_batch_size),
    }


def _lines(loaded: Loaded, cells: Sequence[Cell], settings: Settings) -> list[str]:
    model = loaded.model.model
    best = settings.cell
    return [
        f"{model.name}, version {model.version}, on {model.device}: {_machine()}",
        f"Batching: {loaded.model.profile.reason}",
        "",
        _table(cells),
        "",
        f"Best: {counted(settings.threads, 'thread')}, batches of up to {counted(settings.max_batch_size, 'row')}: "
        f"{milliseconds(best.p50)} ms a run, up to {served_rows_per_second(best):,.0f} rows/s in one server.",
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


def _report(loaded: Loaded, cells: Sequence[Cell], settings: Settings) -> dict[str, Any]:
    model = loaded.model.model
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
            for cell in cells
        ],
        "best": {
            "environment": environment_of(settings),
            "runtime": {
                "session": {"intraOpThreads": settings.threads},
                "batching": {"maxBatchSize": settings.max_batch_size},
            },
            "rows_per_second": round(served_rows_per_second(settings.cell), 1),
        },
    }


def _machine() -> str:
    return f"{counted(usable_threads(), 'CPU')} usable of {os.cpu_count()}, {platform.machine()}"
