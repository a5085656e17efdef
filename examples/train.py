"""Trains the four versions of the example model and writes them as ONNX: `python -m examples.train --out build/models`."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import onnx
from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from examples.committee import committee
from examples.dataset import Rows, holdout_rows, training_rows
from examples.judge import judge
from examples.networks import broken, linear, network

DEFAULT_OUT: Final = Path("build/models")

SLOW: Final = "v3-slow"
VERSIONS: Final[dict[str, Callable[[Rows], onnx.ModelProto]]] = {
    "v1": linear,
    "v2": network,
    SLOW: committee,
    "v4-broken": broken,
}
# At a quarter of a second a row, judging the slow one on all 540 rows would take longer than training everything.
SLOW_ROWS: Final = 60


@dataclass(frozen=True)
class Trained:
    """One line of models.json.

    `path` is relative to models.json; `accuracy` is right answers over `rows` holdout rows asked, a refused row counting as wrong;
    `refused` rows got an engine error; `row_ms` is the median time of a one-row run on one core, in milliseconds.
    """

    version: str
    path: str
    sha256: str
    bytes: int
    rows: int
    accuracy: float
    refused: int
    row_ms: float


def train(out: Path, console: Console, slow_rows: int = SLOW_ROWS) -> list[Trained]:
    """Trains, exports and judges every version; writes `<out>/<version>/model.onnx` and `<out>/models.json`.

    The slow version is judged on the first `slow_rows` holdout rows, the others on all.

    The results of linear algebra differ in the last bits with the number of threads: one thread makes the files the same from run to run.
    """
    training, holdout = training_rows(), holdout_rows()
    console.print(f"{len(training)} rows to learn from, {len(holdout)} held out")
    results = []
    with threadpool_limits(limits=1):
        for version, fit in VERSIONS.items():
            started = time.perf_counter()
            model = fit(training).SerializeToString(deterministic=True)
            fitted = time.perf_counter() - started
            path = out / version / "model.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(model)
            asked = slow_rows if version == SLOW else len(holdout)
            figures = judge(path, Rows(holdout.pixels[:asked], holdout.labels[:asked]))
            results.append(
                Trained(
                    version=version,
                    path=str(path.relative_to(out)),
                    sha256=hashlib.sha256(model).hexdigest(),
                    bytes=len(model),
                    rows=asked,
                    accuracy=round(figures.accuracy, 4),
                    refused=figures.refused,
                    row_ms=round(figures.row_ms, 3),
                )
            )
            console.print(
                f"{version:10} trained in {fitted:.1f} s, {len(model) / 1e6:.2f} MB: accuracy {figures.accuracy:.3f} on {asked} "
                f"held-out rows, {figures.refused} refused, {figures.row_ms:.2f} ms a row"
            )
    (out / "models.json").write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return results


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: %(default)s)")
    out: Path = parser.parse_args(arguments).out
    console = Console(highlight=False, soft_wrap=True)
    started = time.perf_counter()
    train(out, console)
    console.print(f"{out / 'models.json'} written after {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
