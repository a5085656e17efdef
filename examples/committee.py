"""Version 3 of the example: accurate, and slow for an honest reason.

A committee of kernel machines (least-squares support vector machines; Suykens and Vandewalle, Neural Processing Letters 9, 1999) votes on many
distorted views of the image. Each member keeps all its training images as support vectors, so that one request costs
views x members x vectors kernel evaluations: about 35 million.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.dataset import BRIGHTEST, CLASSES, PIXELS, Rows
from examples.distortions import grid, random_distortions
from examples.signature import INPUT, LABEL, PROBABILITIES, finish

_SEED: Final = 0
_MEMBERS: Final = 8
_COPIES: Final = 2
_GAMMA: Final = 0.1
_RIDGE: Final = 0.01
_SHARPNESS: Final = 6.0
_DEGREES: Final = tuple(np.linspace(-10, 10, 6))
_ZOOMS: Final = tuple(np.linspace(0.92, 1.08, 4))
_SHIFTS: Final = tuple(np.linspace(-0.6, 0.6, 7))


@dataclass(frozen=True)
class KernelMachine:
    """`vectors` float64 [vectors, 64] with pixels scaled to 0..1; `weights` float64 [vectors, 10]: their say on each class."""

    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]


def fit(rows: Rows, generator: np.random.Generator) -> KernelMachine:
    """One member: the rows as they are and under random distortions of its own, solved in closed form."""
    images = rows.pixels.astype(np.float64) / BRIGHTEST
    vectors = np.concatenate([images, *(images @ matrix for matrix in random_distortions(_COPIES, generator))])
    targets = np.tile(2 * np.eye(CLASSES)[rows.labels] - 1, (1 + _COPIES, 1))
    norms = (vectors**2).sum(axis=1)
    kernel = np.exp(-_GAMMA * (norms[:, None] + norms[None, :] - 2 * vectors @ vectors.T))
    kernel[np.diag_indices_from(kernel)] += _RIDGE
    return KernelMachine(vectors, np.linalg.solve(kernel, targets))


def committee(rows: Rows) -> onnx.ModelProto:
    """Version 3: 8 kernel machines, the mean of their scores over 1,176 views of each image: 24 turns and zooms, 49 shifts of each."""
    generator = np.random.default_rng(_SEED)
    members = [fit(rows, generator) for _ in range(_MEMBERS)]
    turns, shifts = grid(_DEGREES, _ZOOMS, (0.0,)), grid((0.0,), (1.0,), _SHIFTS)
    return finish(_graph(members, turns, shifts), "v3-slow")


def _graph(members: list[KernelMachine], turns: NDArray[np.float64], shifts: NDArray[np.float64]) -> onnx.GraphProto:
    vectors = np.concatenate([member.vectors for member in members])
    weights = np.concatenate([member.weights for member in members]) / len(members)
    constants = {
        "scale": np.array(1 / BRIGHTEST),
        "vectors": 2 * _GAMMA * vectors.T,
        "norms": -_GAMMA * (vectors**2).sum(axis=1),
        "gamma": np.array(-_GAMMA),
        "weights": weights,
        "no_votes": np.zeros((PIXELS, CLASSES)),
        "turns": turns,
        "shifts": shifts,
        "sharpness": np.array(_SHARPNESS / (len(turns) * len(shifts))),
    }
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name)
        for name, value in constants.items()
    ]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "pixel_axis"))
    nodes = [
        helper.make_node("Mul", [INPUT, "scale"], ["image"]),
        helper.make_node("MatMul", ["image", "no_votes"], ["start"]),
        helper.make_node("Scan", ["image", "start", "turns"], ["kept", "votes"], num_scan_inputs=1, body=_one_turn()),
        helper.make_node("Mul", ["votes", "sharpness"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [PROBABILITIES], axis=1),
        helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=1, keepdims=0),
    ]
    return helper.make_graph(nodes, "digits", [], [], initializers)


def _one_turn() -> onnx.GraphProto:
    """Turns the image, then adds the votes on each shift of it."""
    turned = [
        helper.make_node("MatMul", ["turn_image", "turn"], ["turned"]),
        helper.make_node(
            "Scan",
            ["turned", "turn_votes", "shifts"],
            ["turned_kept", "turn_votes_out"],
            num_scan_inputs=1,
            body=_one_shift(),
        ),
        helper.make_node("Identity", ["turn_image"], ["turn_image_out"]),
    ]
    return _scan_body(turned, "one_turn", "turn")


def _one_shift() -> onnx.GraphProto:
    """Adds all members' votes on one view. One view at a time keeps the memory of a request at one row of kernel values."""
    nodes = [
        helper.make_node("MatMul", ["shift_image", "shift"], ["view"]),
        helper.make_node("Gemm", ["view", "vectors", "norms"], ["products"]),
        helper.make_node("ReduceSumSquare", ["view", "pixel_axis"], ["norm"], keepdims=1),
        helper.make_node("Mul", ["norm", "gamma"], ["own"]),
        helper.make_node("Add", ["products", "own"], ["exponents"]),
        helper.make_node("Exp", ["exponents"], ["kernel"]),
        helper.make_node("MatMul", ["kernel", "weights"], ["vote"]),
        helper.make_node("Add", ["shift_votes", "vote"], ["shift_votes_out"]),
        helper.make_node("Identity", ["shift_image"], ["shift_image_out"]),
    ]
    return _scan_body(nodes, "one_shift", "shift")


def _scan_body(nodes: list[onnx.NodeProto], name: str, prefix: str) -> onnx.GraphProto:
    """A Scan's body: takes `<prefix>_image`, `<prefix>_votes` and the matrix `<prefix>`, and hands the image and the votes on."""
    image: list[str | int | None] = ["rows", PIXELS]
    votes: list[str | int | None] = ["rows", CLASSES]
    state = [(f"{prefix}_image", image), (f"{prefix}_votes", votes)]
    taken = [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each, shape in state]
    given = [helper.make_tensor_value_info(f"{each}_out", TensorProto.FLOAT, shape) for each, shape in state]
    matrix = helper.make_tensor_value_info(prefix, TensorProto.FLOAT, [PIXELS, PIXELS])
    return helper.make_graph(nodes, name, [*taken, matrix], given)
