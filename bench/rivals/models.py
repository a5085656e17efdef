"""Models that fail on a known share of the requests: the same request fails in every controller's app, or in none.

Each request carries a ticket in the corner pixel, which is black in every digit. The model looks it up in a table; where the
table ends, ONNX Runtime refuses the request, and the runtime answers 500. So the share of errors is that of the tickets, and
neither the processor nor chance has a part in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.dataset import PIXELS, Rows, holdout_rows, training_rows
from examples.networks import linear
from examples.signature import INPUT

TICKETS: Final = 1000
CORNER: Final = 0


def name(errors: float) -> str:
    """The model's folder: `errors-1.9` answers all but 1.9 % of the tickets."""
    return f"errors-{errors:g}"


def faulty(base: onnx.ModelProto, errors: float) -> onnx.ModelProto:
    """`base` with a ticket table that is short by `errors` per cent."""
    model = onnx.ModelProto()
    model.CopyFrom(base)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["checked" if each == INPUT else each for each in node.input]
    mask = np.ones(PIXELS, dtype=np.float32)
    mask[CORNER] = 0
    constants: dict[str, NDArray[Any]] = {
        "corner": np.array([CORNER], dtype=np.int64),
        "tickets": np.zeros(round(TICKETS * (1 - errors / 100)), dtype=np.float32),
        "mask": mask,
    }
    graph.initializer.extend(numpy_helper.from_array(value, each) for each, value in constants.items())
    lookup = [
        helper.make_node("Gather", [INPUT, "corner"], ["ticket"], axis=1),
        helper.make_node("Cast", ["ticket"], ["number"], to=TensorProto.INT64),
        helper.make_node("Gather", ["tickets", "number"], ["nothing"]),
        helper.make_node("Mul", [INPUT, "mask"], ["digit"]),
        helper.make_node("Add", ["digit", "nothing"], ["checked"]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(lookup + nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def write(folder: Path, shares: list[float]) -> None:
    """Have `<folder>/errors-<share>/model.onnx` for each share of errors (per cent)."""
    files = {share: folder / name(share) / "model.onnx" for share in shares}
    if all(file.is_file() for file in files.values()):
        return
    base = linear(training_rows())
    for share, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(faulty(base, share).SerializeToString(deterministic=True))


def rows(seed: int) -> Rows:
    """One row for each ticket, in an order that `seed` shuffles: a client that draws rows evenly draws tickets evenly."""
    digits = holdout_rows()
    chosen = np.arange(TICKETS) % len(digits)
    pixels: NDArray[np.float32] = digits.pixels[chosen].copy()
    pixels[:, CORNER] = np.random.default_rng(seed).permutation(TICKETS)
    return Rows(pixels, digits.labels[chosen])
