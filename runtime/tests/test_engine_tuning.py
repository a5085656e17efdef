"""Which inputs are tried, and how many threads a model gets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model, numpy_helper, save_model

from haldane_runtime.core.errors import Code, LoadError, RequestError
from haldane_runtime.core.types import NUMPY_DTYPE, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import onnx, threads
from haldane_runtime.engine.batching import Budget, profile
from haldane_runtime.engine.samples import Recipe, Values, make, recipes, take
from haldane_runtime.engine.trial import Trial, find_inputs, require_run
from haldane_runtime.engine.tuning import open_tuned
from haldane_runtime.engine.vocabulary import read_vocabulary

LARGE = threads.TRIAL_BYTES + 1


@pytest.mark.parametrize("datatype", Datatype)
@pytest.mark.parametrize("values", Values)
@pytest.mark.parametrize("shape", [("N", 2, ""), (), (3,), ("N", 0)])
def test_made_up_inputs_have_the_models_types_and_shapes(datatype: Datatype, values: Values, shape: Any) -> None:
    signature = ModelSignature((TensorSpec("x", datatype, shape),), ())
    array = make(signature, Recipe(values, 5), rows=4)["x"]
    assert isinstance(array, np.ndarray)
    assert array.dtype == NUMPY_DTYPE[datatype]
    assert array.shape == tuple({"N": 4, "": 5}.get(dim, dim) for dim in shape)


def test_made_up_inputs_are_the_same_at_every_start() -> None:
    signature = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 3)),), ())
    one, other = (make(signature, next(recipes(signature)))["x"] for _ in range(2))
    assert np.array_equal(one, other)
    assert len({tuple(row) for row in one}) == len(one)


def test_other_dimensions_are_tried_where_there_are_any_the_likeliest_first() -> None:
    def recipe_sizes(*shape: Any) -> list[int]:
        found = [one.size for one in recipes(ModelSignature((TensorSpec("x", Datatype.FP32, shape),), ()))]
        return list(dict.fromkeys(found))

    assert recipe_sizes("N", 3) == [1]
    assert recipe_sizes("N", "T")[0] == 32
    assert recipe_sizes("N", 3, "H", "W")[0] == 224


class Timed:
    """Runs on its own clock: `seconds[threads]` for a row."""

    device = "cpu"
    signature = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 1)),), (TensorSpec("y", Datatype.FP32, ("N", 1)),))
    now = 0.0

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self.closed = False

    def run(self, inputs: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
        Timed.now += self.seconds * len(inputs["x"])
        return {"y": inputs["x"]}

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("single", "many", "size", "available", "opened", "chosen"),
    [
        (5e-6, 1e-6, 1, 4, [1], 1),
        (1e-3, 0.5e-3, 1, 4, [1, 4], 4),
        (1e-3, 0.9e-3, 1, 4, [1, 4], 1),
        (1e-3, 3e-3, 1, 4, [1, 4], 1),
        (1e-3, 0.5e-3, 1, 1, [1], 1),
        (1.0, 0.5, LARGE, 4, [4], 4),
        (0.5, 0.3, 1, 2, [1, 2], 2),
        (0.05, 0.06, 1, 2, [1, 2], 2),
        (0.05, 0.1, 1, 2, [1, 2], 1),
    ],
    ids=[
        "short",
        "twice as fast",
        "hardly faster",
        "slower",
        "one core",
        "large: opened once",
        "slow",
        "long: no harm",
        "long: harm",
    ],
)
def test_threads_are_chosen_by_measurement(
    single: float, many: float, size: int, available: int, opened: list[int], chosen: int
) -> None:
    engines: list[Timed] = []

    def open_with(count: int) -> Timed:
        engines.append(Timed(count, single if count == 1 else many))
        return engines[-1]

    tuned = open_tuned(open_with, find_inputs, size, available, clock=lambda: Timed.now)
    assert [engine.count for engine in engines] == opened
    assert tuned.threads == chosen
    assert [engine.count for engine in engines if not engine.closed] == [chosen]


def test_a_slow_model_runs_three_times_in_all() -> None:
    Timed.now = 0.0
    engines = [Timed(1, 1.0), Timed(2, 0.5)]
    tuned = open_tuned(
        lambda count: engines[count - 1], lambda one: find_inputs(one, clock=lambda: Timed.now), 1, 2, lambda: Timed.now
    )
    assert (tuned.threads, tuned.trial.seconds) == (2, 0.5)
    assert Timed.now == 1.0 + 1.0 + 0.5


def test_a_model_that_takes_nothing_is_opened_once(models: Any) -> None:
    opened: list[int] = []

    def open_with(count: int) -> onnx.OnnxEngine:
        opened.append(count)
        return onnx.load(models.double(), "cpu", count)

    tuned = open_tuned(open_with, lambda _: Trial(None, "no"), 1, 8)
    assert (opened, tuned.threads, tuned.trial.inputs) == ([1], 1, None)


def test_inputs_that_the_model_takes_are_found(models: Any) -> None:
    """The logarithm is NaN for half of the first numbers tried; the strings pass as they are."""
    engine = onnx.load(models.person(), "cpu", 1)
    found = find_inputs(engine).inputs
    assert found is not None
    assert np.isfinite(engine.run(take(found, [0]), ("log",))["log"]).all()


@pytest.fixture
def strict(models: Any) -> Path:
    """Encoders that accept nothing but what they know, behind what exporters put before them."""
    ml = {"domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node("Gather", ["city", "zero"], ["c1"], axis=1),
        helper.make_node("Identity", ["c1"], ["c2"]),
        helper.make_node("OneHotEncoder", ["c2"], ["c3"], cats_strings=["ber", "rom"], zeros=0, **ml),
        helper.make_node("Reshape", ["c3", "two"], ["y"]),
        helper.make_node("OneHotEncoder", ["kind"], ["k1"], cats_int64s=[100, 104], zeros=0, **ml),
        helper.make_node("Reshape", ["k1", "two"], ["z"]),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("city", TensorProto.STRING, ["N", 1]), info("kind", TensorProto.INT64, ["N", 1])]
    outputs = [info(name, TensorProto.FLOAT, ["N", 2]) for name in ("y", "z")]
    weights = [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([-1, 2], np.int64), "two"),
    ]
    return Path(models.save("strict", nodes, inputs, outputs, weights))


def test_words_that_only_the_model_knows_are_read_from_it(strict: Path, tmp_path: Path) -> None:
    assert read_vocabulary(strict) == {"city": ["ber", "rom"], "kind": [100, 104]}
    engine = onnx.load(strict, "cpu", 1)
    assert find_inputs(engine).inputs is None
    found = find_inputs(engine, vocabulary=lambda: read_vocabulary(strict)).inputs
    assert found is not None
    assert set(found["city"].ravel()) == {"ber", "rom"}
    assert set(found["kind"].ravel()) == {100, 104}
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert read_vocabulary(tmp_path / "model.onnx") == {}


def test_limits_of_a_forest_trained_on_large_numbers_are_crossed(models: Any) -> None:
    """One tree with one limit, at 50,000."""
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[50_000.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
    )
    info = helper.make_tensor_value_info
    path = models.save(
        "tree", [tree], [info("x", TensorProto.FLOAT, ["N", 3])], [info("y", TensorProto.FLOAT, ["N", 1])]
    )
    model = load_model(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    save_model(model, path)
    engine = onnx.load(path, "cpu", 1)
    found = find_inputs(engine)
    assert found.inputs is not None
    assert set(engine.run(found.inputs, ("y",))["y"].ravel()) == {1, 2}
    assert profile(engine, found.inputs, found.seconds, 8, Budget(1, 1)).batchable


class Stubborn:
    """Refuses to run, on a device of choice."""

    signature = ModelSignature((), ())

    def __init__(self, device: str) -> None:
        self.device = device

    def run(self, inputs: Any, outputs: Any) -> dict[str, Any]:
        raise RequestError(Code.MODEL_FAILED, "no kernel")

    def close(self) -> None: ...


def test_a_model_that_does_not_run_counts_on_a_gpu_only(caplog: pytest.LogCaptureFixture) -> None:
    require_run(Stubborn("cpu"), find_inputs(Stubborn("cpu")))
    assert "no kernel" in caplog.text
    with pytest.raises(LoadError, match="does not run on the GPU: no kernel; if it needs special inputs, give golden"):
        require_run(Stubborn("gpu"), find_inputs(Stubborn("gpu")))
