"""Judges an exported model on rows it has not seen, through ONNX Runtime as it will be served."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from examples.dataset import Rows
from examples.signature import INPUT, LABEL

# What a model that loaded can still raise; ONNX Runtime gives these no common base.
ENGINE_ERRORS: Final = (Fail, InvalidArgument, RuntimeException)
_BATCH: Final = 20
_TIMED_ROWS: Final = 7


@dataclass(frozen=True)
class Figures:
    """`accuracy` 0..1 over all rows asked, `refused` rows that ended in an engine error, `row_ms` the median of one-row runs that were answered."""

    accuracy: float
    refused: int
    row_ms: float


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # A model that refuses a row says so by its exception; the engine's own log line for each would hide the figures.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answer(session: onnxruntime.InferenceSession, pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels int64 [rows] for float32 [rows, 64]; -1 for a row that the engine refuses.

    A batch that is refused is asked again row by row, so that one bad row does not count against its neighbours.
    """
    try:
        labels: NDArray[np.int64] = session.run([LABEL], {INPUT: pixels})[0]
    except ENGINE_ERRORS:
        if len(pixels) == 1:
            return np.array([-1])
        return np.concatenate([answer(session, pixels[i : i + 1]) for i in range(len(pixels))])
    return labels


def judge(path: Path, rows: Rows) -> Figures:
    """Figures of the model in `path` on `rows`.

    Raises:
        ValueError: the model answered no row at all.
    """
    session = open_session(path)
    batches = [rows.pixels[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]
    labels = np.concatenate([answer(session, batch) for batch in batches])
    answered = rows.pixels[labels >= 0]
    if not len(answered):
        raise ValueError(f"{path} refused all {len(rows)} rows; export it again from a model that answers some")
    return Figures(
        accuracy=float((labels == rows.labels).mean()),
        refused=int((labels < 0).sum()),
        row_ms=statistics.median(_time_one_row(session, row[None, :]) for row in answered[:_TIMED_ROWS]),
    )


def _time_one_row(session: onnxruntime.InferenceSession, row: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    session.run(None, {INPUT: row})
    return (time.perf_counter() - started) * 1e3
