"""fp16 and int8 for real: converted once, compared with fp32, kept for the next start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Array, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import precision
from haldane_runtime.engine.comparison import Tolerance
from haldane_runtime.engine.precision import (
    Loss,
    Precision,
    conditions,
    furthest,
    key,
    require_close,
    require_supported,
)
from haldane_runtime.loading import LoadedModel, load
from haldane_runtime.settings import from_environment

RANDOM = np.random.default_rng(7)


def weights(name: str, *shape: int) -> Any:
    return numpy_helper.from_array((RANDOM.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), name)


def info(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.fixture
def dense(models: Any) -> Path:
    """Two layers of 64."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2"], ["y"]),
    ]
    return Path(
        models.save("dense", nodes, [info("x", ["N", 64])], [info("y", ["N", 8])], [WEIGHTS["w1"], WEIGHTS["w2"]])
    )


WEIGHTS = {"w1": weights("w1", 64, 64), "w2": weights("w2", 64, 8)}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., LoadedModel]:
    def opener(model: Path, **environment: str) -> LoadedModel:
        uri = {"HALDANE_MODEL_URI": f"file://{model}", "HALDANE_CACHE_DIR": str(tmp_path / "cache")}
        return load(from_environment(uri | environment))

    return opener


@pytest.fixture
def golden(dense: Path, opened: Callable[..., LoadedModel]) -> str:
    """Thirty-two requests with the answers that the model gives at fp32."""
    engine = opened(dense).engine
    requests = []
    for _ in range(32):
        x = RANDOM.standard_normal((1, 64)).astype(np.float32)
        y = engine.run({"x": x}, ("y",))["y"]
        requests.append({"inputs": [_tensor("x", x)], "outputs": [_tensor("y", y)]})
    return json.dumps({"requests": requests})


def _tensor(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}


def test_fp16_is_close_keeps_the_interface_and_is_converted_once(
    dense: Path, opened: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, half = opened(dense), opened(dense, HALDANE_PRECISION="fp16")
    assert half.model.signature == exact.model.signature
    assert (half.model.precision, half.model.digest) == ("fp16", exact.model.digest)
    x = {"x": RANDOM.standard_normal((3, 64)).astype(np.float32)}
    one, other = half.engine.run(x, ("y",))["y"], exact.engine.run(x, ("y",))["y"]
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=1e-2)
    assert half.profile.batchable
    assert half.path.stat().st_size < 0.6 * dense.stat().st_size
    monkeypatch.setattr(precision, "_run_tools", None)
    assert opened(dense, HALDANE_PRECISION="fp16").path == half.path
    # Nothing of the work is left behind.
    assert sorted(file.name for file in half.path.parent.iterdir()) == ["loss.json", "model.onnx"]


def test_int8_without_golden_requests_is_not_batched(dense: Path, opened: Callable[..., LoadedModel]) -> None:
    loaded = opened(dense, HALDANE_PRECISION="int8", HALDANE_PRECISION_TOLERANCE="0.1")
    assert not loaded.profile.batchable
    assert "changes with the rows beside it" in loaded.profile.reason


def test_int8_with_golden_requests_is_calibrated_and_batched(
    dense: Path, golden: str, opened: Callable[..., LoadedModel]
) -> None:
    settings = {"HALDANE_PRECISION": "int8", "HALDANE_GOLDEN": golden}
    loaded = opened(dense, **settings, HALDANE_PRECISION_TOLERANCE="0.1")
    assert loaded.profile.batchable, loaded.profile.reason
    assert loaded.path.stat().st_size < 0.5 * dense.stat().st_size
    # The same model is refused by a stricter limit, without another conversion: both numbers are told.
    with pytest.raises(LoadError, match=r"At int8 the output 'y' is off by 0\.0\d+ .* more than the 0\.001 ") as caught:
        opened(dense, **settings, HALDANE_PRECISION_TOLERANCE="0.001")
    assert caught.value.reason is Reason.PRECISION_LOSS


def test_a_convolution_is_calibrated(models: Any, opened: Callable[..., LoadedModel]) -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    model = models.save(
        "conv", nodes, [info("x", ["N", 3, 8, 8])], [info("y", ["N", 4, 1, 1])], [weights("k", 4, 3, 3, 3)]
    )
    requests = [{"inputs": [_tensor("x", RANDOM.random((1, 3, 8, 8), np.float32))]} for _ in range(4)]
    golden = json.dumps({"requests": requests})
    limits = {"HALDANE_PRECISION": "int8", "HALDANE_PRECISION_TOLERANCE": "0.1"}
    assert opened(model, HALDANE_GOLDEN=golden, **limits).profile.batchable
    with pytest.raises(LoadError, match="nothing to convert, at least not without golden requests") as caught:
        opened(model, **limits)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_weights_beside_the_model_are_converted_too_and_never_read_from_elsewhere(
    models: Any, opened: Callable[..., LoadedModel]
) -> None:
    inside = models.external("beside", "weights.bin")
    loaded = opened(inside.parent, HALDANE_PRECISION="fp16")
    assert loaded.engine.run({"x": np.ones((1, 3), np.float32)}, ("y",))["y"].tolist() == [[2, 2, 2]]
    with pytest.raises(LoadError, match="leads out of the model's own folder"):
        opened(models.external("astray", "../outside.bin").parent, HALDANE_PRECISION="fp16")


def test_a_model_with_nothing_to_convert_says_so(models: Any, opened: Callable[..., LoadedModel]) -> None:
    with pytest.raises(
        LoadError, match="HALDANE_PRECISION is fp16, but the model has nothing to convert; set it"
    ) as caught:
        opened(models.double(), HALDANE_PRECISION="fp16")
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_wrong_golden_answers_are_found_before_a_conversion(
    dense: Path, opened: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_run_tools", None)
    wrong = {"inputs": [_tensor("x", np.ones((1, 64)))], "outputs": [_tensor("y", np.full((1, 8), 99))]}
    with pytest.raises(LoadError, match="does not give the golden answers") as caught:
        opened(dense, HALDANE_PRECISION="fp16", HALDANE_GOLDEN=json.dumps({"requests": [wrong]}))
    assert caught.value.reason is Reason.GOLDEN_MISMATCH


def test_golden_requests_given_later_measure_the_loss_again_without_another_conversion(
    dense: Path, golden: str, opened: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = opened(dense, HALDANE_PRECISION="fp16")
    monkeypatch.setattr(precision, "_run_tools", None)
    measured: list[int] = []

    def far(reference: Any, other: Any, requests: Any) -> Loss:
        measured.append(len(requests))
        return Loss("y", 0.5)

    monkeypatch.setattr(precision, "furthest", far)
    settings = {"HALDANE_PRECISION": "fp16", "HALDANE_GOLDEN": golden}
    # The second start knows what the first one measured.
    for _ in range(2):
        with pytest.raises(LoadError, match=r"the output 'y' is off by 0\.5 of what"):
            opened(dense, **settings)
    assert measured == [32]
    assert opened(dense, **settings, HALDANE_PRECISION_TOLERANCE="0.6").path == half.path
    assert sorted(file.name for file in half.path.parent.iterdir()) == ["loss.json", "model.onnx"]


def test_golden_requests_given_later_are_held_against_fp32(dense: Path, opened: Callable[..., LoadedModel]) -> None:
    wide = {"HALDANE_PRECISION": "fp16", "HALDANE_PRECISION_TOLERANCE": "0.5"}
    x = np.ones((1, 64), np.float32)
    y = opened(dense, **wide).engine.run({"x": x}, ("y",))["y"]
    # Near enough for a tolerance of 0.5, and still not what the model answers.
    off = {"inputs": [_tensor("x", x)], "outputs": [_tensor("y", y * 1.1)]}
    with pytest.raises(LoadError, match="does not give the golden answers") as caught:
        opened(dense, HALDANE_GOLDEN=json.dumps({"requests": [off]}), **wide)
    assert caught.value.reason is Reason.GOLDEN_MISMATCH


def test_a_loss_holds_for_the_inputs_and_the_place_it_was_measured_with() -> None:
    tried = [
        ("", "cpu", ()),
        ("golden", "cpu", ()),
        ("", "gpu", ()),
        ("", "gpu", ("TensorRT",)),
        ("", "gpu", ("CUDA",)),
    ]
    assert len({conditions(*one) for one in tried}) == len(tried)
    assert conditions("golden", "cpu", ()) == conditions("golden", "cpu", [])


def test_the_key_names_all_that_the_result_follows_from() -> None:
    keys = {
        key("a" * 64, "fp16", "", "1.31"),
        key("b" * 64, "fp16", "", "1.31"),
        key("a" * 64, "int8", "", "1.31"),
        key("a" * 64, "int8", "golden", "1.31"),
        key("a" * 64, "fp16", "", "1.32"),
    }
    assert len(keys) == 5
    # Golden requests calibrate int8 alone.
    assert key("a" * 64, "fp16", "golden", "1.31") in keys


@pytest.mark.parametrize(
    ("name", "device", "providers", "supported"),
    [
        ("int8", "cpu", (), True),
        ("int8", "gpu", (), False),
        ("int8", "gpu", ("CUDA", "CPU"), False),
        ("int8", "gpu", ("TensorRT", "CUDA"), True),
        ("fp16", "gpu", (), True),
    ],
)
def test_where_a_precision_can_be_computed(name: str, device: str, providers: tuple[str, ...], supported: bool) -> None:
    if supported:
        require_supported(Precision(name, 0.1), device, providers)
        return
    with pytest.raises(LoadError, match="only TensorRT computes with int8"):
        require_supported(Precision(name, 0.1), device, providers)


def test_golden_answers_are_held_less_strictly_at_less_precision() -> None:
    strict = Tolerance(1e-3, 1e-5)
    assert Precision("fp32", 0.01).widened(strict) == strict
    assert Precision("fp16", 0.01).widened(strict) == Tolerance(0.01, 1e-5, scaled=0.01)
    assert Precision("fp16", 0.01).widened(Tolerance(0.5, 1)).relative == 0.5


class Scaled:
    device = "cpu"
    signature = ModelSignature(
        (TensorSpec("x", Datatype.FP32, ("N",)),),
        (TensorSpec("y", Datatype.FP32, ("N",)), TensorSpec("z", Datatype.FP32, ("N",))),
    )

    def __init__(self, y: float, z: float) -> None:
        self.factors = {"y": y, "z": z}

    def run(self, inputs: Any, outputs: Any) -> dict[str, Any]:
        return {name: inputs["x"] * self.factors[name] for name in outputs}

    def close(self) -> None: ...


def test_the_output_furthest_from_fp32_counts() -> None:
    requests = [{"x": np.array([1, 2], np.float32)}, {"x": np.array([3], np.float32)}]
    loss = furthest(Scaled(1, 1), Scaled(1.01, 0.9), requests)
    assert (loss.output, round(loss.deviation, 6)) == ("z", 0.1)
    require_close(loss, Precision("int8", 0.11))
    with pytest.raises(LoadError):
        require_close(loss, Precision("int8", 0.09))
    with pytest.raises(LoadError, match="off by inf of what"):
        require_close(Loss("y", float("inf")), Precision("int8", 1))
