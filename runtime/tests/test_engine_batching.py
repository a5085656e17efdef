"""Batchability is proved on real models: what merges, what only looks as if it did, and up to how many rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import onnx
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.engine.batching import (
    BATCH_OVERHEAD_SECONDS,
    LEAST_GAIN,
    Budget,
    best_size,
    obstacle,
    profile,
    sizes,
    worth_doubling,
)
from haldane_runtime.engine.comparison import Tolerance
from haldane_runtime.engine.independence import INDEPENDENT as EXACT
from haldane_runtime.engine.independence import INDEPENDENT_REDUCED as REDUCED
from haldane_runtime.engine.independence import prove
from haldane_runtime.engine.samples import louder
from haldane_runtime.engine.trial import find_inputs, rows_of

PLENTY = Budget(plenty=5, most=10)

Node = helper.make_node
FLOAT, INT64, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL


def info(name: str, shape: list[Any] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, values: Any, kind: Any) -> Any:
    return numpy_helper.from_array(np.array(values, kind), name)


X, Y = info("x", ["N", 3]), info("y", ["N", 3])
A, B = 7_000_007, 7_000_008
ZERO_AXIS = constant("zero", [0], np.int64)
RANDOM = np.random.default_rng(0)


def at_most(rows: int) -> tuple[Any, ...]:
    """Fails on more rows than that."""
    nodes = [
        Node("Shape", ["x"], ["count"], end=1),
        Node("Sub", ["count", "one"], ["last"]),
        Node("Gather", ["table", "last"], ["factor"]),
        Node("Mul", ["x", "factor"], ["y"]),
    ]
    return nodes, [X], [Y], [constant("one", [1], np.int64), constant("table", [1] * rows, np.float32)]


# name -> nodes, inputs, outputs, weights
INDEPENDENT: dict[str, tuple[Any, ...]] = {
    "a dense layer": (
        [Node("Gemm", ["x", "w"], ["z"]), Node("Softmax", ["z"], ["y"], axis=1)],
        [X],
        [info("y", ["N", 5])],
        [constant("w", RANDOM.standard_normal((3, 5)), np.float32)],
    ),
    "no names for dimensions": ([Node("Neg", ["x"], ["y"])], [info("x", [None, 3])], [info("y", [None, 3])], []),
    "another name in each tensor": (
        [Node("Add", ["x", "b"], ["y"])],
        [info("x", ["unk__1", 3]), info("b", ["unk__2", 3])],
        [info("y", ["unk__3", 3])],
        [],
    ),
    "a table looked up": (
        [Node("Gather", ["table", "i"], ["y"])],
        [info("i", ["N"], INT64)],
        [info("y", ["N"])],
        [constant("table", [1, 2, 3], np.float32)],
    ),
    "words known to an encoder": (
        [Node("LabelEncoder", ["s"], ["y"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[1, 2])],
        [info("s", ["N", 1], STRING)],
        [info("y", ["N", 1], INT64)],
        [],
    ),
    "numbers in text": (
        [Node("Cast", ["s"], ["y"], to=FLOAT)],
        [info("s", ["N", 1], STRING)],
        [info("y", ["N", 1])],
        [],
    ),
    "logarithm, NaN below 0": ([Node("Log", ["x"], ["y"])], [X], [Y], []),
    "a sequence and its mask": (
        [Node("Where", ["mask", "x", "low"], ["z"]), Node("ReduceMax", ["z"], ["y"], axes=[1], keepdims=0)],
        [info("x", ["N", "T", 2]), info("mask", ["N", "T", 1], BOOL)],
        [info("y", ["N", 2])],
        [constant("low", -1.0, np.float32)],
    ),
    "an output of unknown rank": ([Node("Neg", ["x"], ["y"])], [X], [info("y", None)], []),
    "a convolution that wants room": (
        [Node("Conv", ["x", "k"], ["z"]), Node("GlobalAveragePool", ["z"], ["y"])],
        [info("x", ["N", 1, "H", "W"])],
        [info("y", ["N", 1, 1, 1])],
        [constant("k", RANDOM.standard_normal((1, 1, 11, 1)), np.float32)],
    ),
}

DEPENDENT: dict[str, tuple[Any, ...]] = {
    "a softmax over the rows: A row's answer changes with the rows beside it: output 'y' is ": (
        [Node("Softmax", ["x"], ["y"], axis=0)],
        [X],
        [Y],
        [],
    ),
    "normalised over the rows: A row's answer changes with the rows beside it: output 'y' is ": (
        [Node("ReduceMean", ["x"], ["m"], axes=[0]), Node("Sub", ["x", "m"], ["y"])],
        [X],
        [Y],
        [],
    ),
    "batch norm in training, which goes on learning: The model answers the same request in different ways.": (
        [Node("BatchNormalization", ["x", "one", "null", "null", "one"], ["y", "m", "v"], training_mode=1)],
        [X],
        [Y],
        [constant("one", [1, 1, 1], np.float32), constant("null", [0, 0, 0], np.float32)],
    ),
    "sums along the rows: A row's answer changes with the rows beside it: output 'y' is ": (
        [Node("CumSum", ["x", "zero"], ["y"])],
        [X],
        [Y],
        [ZERO_AXIS],
    ),
    "rows in reverse: A row's answer changes with the rows beside it: output 'y' is ": (
        [Node("Slice", ["x", "last", "before", "zero", "back"], ["y"])],
        [X],
        [Y],
        [
            ZERO_AXIS,
            constant("last", [-1], np.int64),
            constant("before", [-(1 << 60)], np.int64),
            constant("back", [-1], np.int64),
        ],
    ),
    "chance: The model answers the same request in different ways.": (
        [Node("RandomNormalLike", ["x"], ["y"])],
        [X],
        [Y],
        [],
    ),
    "a sum over all: The output 'y' has the shape [] for 1 rows.": (
        [Node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [X],
        [info("y", [])],
        [],
    ),
    "pairs of rows: The output 'y' has the shape [2, 2] for 2 rows.": (
        [Node("Transpose", ["x"], ["t"], perm=[1, 0]), Node("MatMul", ["x", "t"], ["y"])],
        [info("x", [None, 3])],
        [info("y", [None, None])],
        [],
    ),
    "declared pairs: The first dimension of 'x', N, is also dimension 1 of 'y'.": (
        [Node("Transpose", ["x"], ["t"], perm=[1, 0]), Node("MatMul", ["x", "t"], ["y"])],
        [X],
        [info("y", ["N", "N"])],
        [],
    ),
    "state with the batch on another axis: The first dimension of 'x', N, is also dimension 1 of 'state'.": (
        [Node("ReduceSum", ["state", "zero"], ["s"], keepdims=0), Node("Add", ["x", "s"], ["y"])],
        [X, info("state", ["layers", "N", 3])],
        [Y],
        [ZERO_AXIS],
    ),
    "a fixed batch: The first dimension of the input 'x' is fixed at 1.": (
        [Node("Neg", ["x"], ["y"])],
        [info("x", [1, 3])],
        [info("y", [1, 3])],
        [],
    ),
    "a fixed output: The first dimension of the output 'y' is fixed at 1.": (
        [Node("ReduceMean", ["x"], ["y"], axes=[0])],
        [X],
        [info("y", [1, 3])],
        [],
    ),
    "a scalar beside: The input 'k' has no dimensions.": (
        [Node("Mul", ["x", "k"], ["y"])],
        [X, info("k", [])],
        [Y],
        [],
    ),
    "always the same: The outputs are the same for all inputs tried, so that nothing shows": (
        [Node("Mul", ["x", "null"], ["z"]), Node("Abs", ["z"], ["y"])],
        [X],
        [Y],
        [constant("null", 0, np.float32)],
    ),
    "nothing accepted: The model takes none of the inputs tried; give golden requests.": (
        [Node("Gather", ["table", "i"], ["y"])],
        [info("i", ["N", 2], INT64)],
        [info("y", ["N", 2, 1])],
        [numpy_helper.from_array(np.zeros((0, 1), np.float32), "table")],
    ),
    "two rows refused: The model does not run on one row and on two: the model failed": at_most(1),
    "merged requests refused: The model does not run on merged requests: the model failed": at_most(2),
}


def proved(path: Path, limit: int = 64, golden: Any = None, tolerance: Tolerance = EXACT) -> BatchProfile:
    engine = onnx.load(path, "cpu", 1)
    trial = rows_of(engine, golden) if golden else find_inputs(engine)
    return profile(engine, trial.inputs, trial.seconds, limit, PLENTY, tolerance)


@pytest.fixture
def save(models: Any) -> Callable[[str, tuple[Any, ...]], Path]:
    def saver(name: str, parts: tuple[Any, ...]) -> Path:
        return Path(models.save(name.replace(" ", "-").replace("/", "-")[:40], *parts))

    return saver


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_rows_are_proved(save: Callable[..., Path], name: str) -> None:
    found = proved(save(name, INDEPENDENT[name]))
    assert found.batchable, found.reason
    assert found.reason.startswith("Requests answered apart and merged agree; ")
    assert set(found.seconds) >= {1, 2}
    assert found.max_rows in found.seconds


@pytest.mark.parametrize("name", DEPENDENT)
def test_what_only_looks_batchable_is_not_and_the_reason_is_a_sentence(save: Callable[..., Path], name: str) -> None:
    title, reason = name.split(": ", 1)
    found = proved(save(title, DEPENDENT[name]))
    assert not found.batchable
    assert found.max_rows == 1
    assert found.reason.startswith(reason)
    assert set(found.seconds) <= {1}


@pytest.mark.parametrize("name", ["a dense layer", "logarithm, NaN below 0", "numbers in text"])
def test_independent_rows_are_proved_at_less_precision_too(save: Callable[..., Path], name: str) -> None:
    found = proved(save(name, INDEPENDENT[name]), tolerance=REDUCED)
    assert found.batchable, found.reason


def test_a_scale_of_the_whole_batch_is_seen_where_all_rows_are_of_one_size(save: Callable[..., Path]) -> None:
    """Its error on such rows is below what less precision is allowed."""
    nodes = [
        Node("DynamicQuantizeLinear", ["x"], ["q", "scale", "point"]),
        Node("DequantizeLinear", ["q", "scale", "point"], ["y"]),
    ]
    found = proved(save("scaled", (nodes, [X], [Y], [])), tolerance=REDUCED)
    assert not found.batchable
    assert found.reason.startswith("A row's answer changes with the rows beside it: output 'y' is ")


class Answering:
    """Gives back what a function makes of its input."""

    device = "cpu"
    signature = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 1)),), (TensorSpec("y", Datatype.FP32, ("N", 1)),))

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer

    def run(self, inputs: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
        return {"y": self._answer(inputs["x"])}

    def close(self) -> None: ...


def refusing(x: Any) -> Any:
    if x.max() > 50:
        raise RequestError(Code.MODEL_FAILED, "too large")
    return x


@pytest.mark.parametrize(
    ("answer", "dependence"),
    [
        (lambda x: x, None),
        (lambda x: x + (0.5 if x.max() > 50 and len(x) > 1 else 0), "A row's answer changes with the rows beside it"),
        # What it does beside a row that it cannot answer by itself says nothing.
        (refusing, None),
        (lambda x: np.full_like(x, np.inf) if x.max() > 50 else x, None),
    ],
    ids=["none", "moved by a neighbour", "refuses", "overflows"],
)
def test_rows_keep_their_answers_beside_far_larger_numbers(answer: Any, dependence: str | None) -> None:
    rows = {"x": np.arange(1, 5, dtype=np.float32).reshape(4, 1)}
    found = prove(Answering(answer), rows, REDUCED)
    assert (found.dependence or "").startswith(dependence or "")
    assert (found.dependence is None) == (dependence is None)


def test_only_the_floats_of_one_row_grow() -> None:
    specs = [("f", Datatype.FP32), ("h", Datatype.FP16), ("b", Datatype.BF16), ("i", Datatype.INT64)]
    signature = ModelSignature(tuple(TensorSpec(name, kind, ("N", 1)) for name, kind in specs), ())
    inputs: dict[str, Any] = {
        "f": np.array([[1.5], [2]], np.float32),
        "h": np.array([[60_000], [2]], np.float16),
        # 1 and 2.
        "b": np.array([[0x3F80], [0x4000]], np.uint16),
        "i": np.array([[1], [2]], np.int64),
    }
    got = louder(signature, inputs, 0, 100.0)
    assert got is not None
    assert {name: array.ravel().tolist() for name, array in got.items()} == {
        "f": [150, 2],
        "h": [65_504, 2],
        # 100 and 2.
        "b": [0x42C8, 0x4000],
        "i": [1, 2],
    }
    assert [got[name].dtype for name in inputs] == [array.dtype for array in inputs.values()]
    assert inputs["f"][0] == 1.5
    assert louder(signature, inputs | {name: inputs[name] * 0 for name in "fhb"}, 0, 100.0) is None


def test_batching_that_is_switched_off_is_not_proved(save: Callable[..., Path]) -> None:
    found = proved(save("a dense layer", INDEPENDENT["a dense layer"]), limit=1)
    assert (found.batchable, found.reason, found.max_rows) == (False, "Batching is switched off.", 1)
    assert found.seconds[1] > 0


def test_golden_requests_are_the_better_inputs(save: Callable[..., Path]) -> None:
    """Two large numbers are all that the encoder knows, so that made-up ones teach nothing."""
    encoder = Node("LabelEncoder", ["i"], ["y"], domain="ai.onnx.ml", keys_int64s=[A, B], values_floats=[1.0, 2.0])
    path = save("golden", ([encoder], [info("i", ["N"], INT64)], [info("y", ["N"])], []))
    assert "nothing shows" in proved(path).reason
    one, other = ({"i": np.array(values, np.int64)} for values in ([A], [B, A]))
    assert proved(path, golden=[one, other]).batchable
    assert proved(path, golden=[other]).batchable
    # One row of them shows nothing either, but beside a made-up one it does.
    assert proved(path, golden=[one]).batchable


def test_golden_requests_of_other_lengths_are_left_out(save: Callable[..., Path]) -> None:
    path = save("sequence", INDEPENDENT["a sequence and its mask"])
    requests = [
        {"x": np.ones((1, steps, 2), np.float32), "mask": np.ones((1, steps, 1), np.bool_)} for steps in (3, 5, 3)
    ]
    trial = rows_of(onnx.load(path, "cpu", 1), requests)
    assert trial.inputs is not None
    assert {array.shape[1] for array in trial.inputs.values()} == {3}


class Tabulated:
    """Takes as long as a table says, on a clock of its own; above 8 rows it answers otherwise when `odd`."""

    device = "cpu"
    signature = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 1)),), (TensorSpec("y", Datatype.FP32, ("N", 1)),))

    def __init__(self, seconds: Callable[[int], float], odd: bool = False) -> None:
        self.now = 0.0
        self._seconds = seconds
        self._odd = odd

    def run(self, inputs: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
        rows = len(inputs["x"])
        self.now += self._seconds(rows)
        return {"y": inputs["x"] * (2 if self._odd and rows > 8 else 1)}

    def close(self) -> None: ...

    def profile(self, limit: int = 64, budget: Budget = PLENTY) -> BatchProfile:
        rows = {"x": np.arange(4, dtype=np.float32).reshape(4, 1)}
        return profile(self, rows, self._seconds(1), limit, budget, clock=lambda: self.now)


def test_batches_grow_while_they_gain() -> None:
    launch_bound = Tabulated(lambda rows: 0.01 + 0.0001 * rows).profile()
    assert launch_bound.max_rows == 64
    assert launch_bound.seconds[64] == pytest.approx(0.0164)
    compute_bound = Tabulated(lambda rows: 0.001 * rows).profile()
    assert (compute_bound.batchable, compute_bound.max_rows) == (True, 1)
    thrashing = Tabulated(lambda rows: 0.001 + 0.0001 * rows * (3 if rows > 16 else 1)).profile()
    assert thrashing.max_rows == 16


def test_the_measurement_ends_within_its_budget() -> None:
    budget = Budget(0.06, 1.5)
    gaining = Tabulated(lambda rows: 0.01 + 0.0001 * rows)
    assert gaining.profile(budget=budget).max_rows == 64
    assert gaining.now < 0.5
    gainless = Tabulated(lambda rows: 0.01 * rows)
    found = gainless.profile(budget=budget)
    assert (found.batchable, list(found.seconds)) == (False, [1])
    assert found.reason == "Larger batches gain nothing: one row takes 10 ms, two take 20 ms."
    # No proof: four rows to see that, and a few to time one.
    assert gainless.now < 0.06


def test_a_slow_model_is_not_run_for_a_proof() -> None:
    slow = Tabulated(lambda rows: 0.9 * rows)
    found = slow.profile(budget=Budget(0.06, 1.5))
    assert slow.now == 0
    assert (found.batchable, found.seconds) == (False, {1: 0.9})
    assert found.reason == "One row takes 0.9 s, too long to prove that rows are independent before serving."


def test_sizes_that_answer_otherwise_are_not_used() -> None:
    found = Tabulated(lambda rows: 0.01, odd=True).profile()
    assert found.batchable
    assert found.max_rows == 8


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 20])]
)
def test_sizes_double_up_to_the_limit(limit: int, expected: list[int]) -> None:
    assert sizes(limit) == expected


@given(st.dictionaries(st.integers(1, 64), st.floats(1e-6, 10), min_size=1))
def test_the_best_size_is_the_smallest_that_is_good_enough(seconds: dict[int, float]) -> None:
    best = best_size(seconds)

    def cost(size: int) -> float:
        return (seconds[size] + BATCH_OVERHEAD_SECONDS) / size

    limit = min(map(cost, seconds)) * (1 + LEAST_GAIN)
    assert cost(best) <= limit
    assert all(cost(size) > limit for size in seconds if size < best)


@given(st.dictionaries(st.sampled_from([1, 2, 4, 8, 16]), st.floats(1e-6, 10), min_size=1), st.floats(0, 10))
def test_nothing_is_measured_beyond_the_most(seconds: dict[int, float], spent: float) -> None:
    budget = Budget(0.1, 1.0)
    if worth_doubling(seconds, spent, budget):
        assert spent + 4 * seconds[max(seconds)] <= budget.most


def test_dimensions_without_a_name_are_not_the_same() -> None:
    for name in ("", "?", "None"):
        signature = ModelSignature(
            (TensorSpec("x", Datatype.FP32, (name, name)),), (TensorSpec("y", Datatype.FP32, (name,)),)
        )
        assert obstacle(signature) is None
