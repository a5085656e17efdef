"""A load by the real process: each failure ends it with its own exit code and one sentence; none serves half."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model, numpy_helper, save_model

from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.loading import load
from haldane_runtime.settings import from_environment

Case = tuple[str, dict[str, str], int, str, str]

FLOAT = TensorProto.FLOAT


class Faults:
    """Writes a model with one fault; a method's name is the fault's. Returns the path of the URI."""

    def __init__(self, models: Any, folder: Path) -> None:
        self._models = models
        self._folder = folder

    def _bytes(self, content: bytes) -> Path:
        file = self._folder / "model.onnx"
        file.write_bytes(content)
        return file

    def none(self) -> Path:
        return Path(self._models.double())

    def empty(self) -> Path:
        return self._bytes(b"")

    def text(self) -> Path:
        return self._bytes(b"<html>404 not found</html>\n")

    def truncated(self) -> Path:
        whole = self.none().read_bytes()
        return self._bytes(whole[: len(whole) // 2])

    def opset(self) -> Path:
        return Path(self._models.double("future", opset=99))

    def ir_version(self) -> Path:
        model = load_model(self.none())
        model.ir_version = 99
        save_model(model, self._folder / "model.onnx")
        return self._folder / "model.onnx"

    def operator(self) -> Path:
        return Path(self._models.double("odd", op="Frobnicate"))

    def domain(self) -> Path:
        model = load_model(self.none())
        model.graph.node[0].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        save_model(model, self._folder / "model.onnx")
        return self._folder / "model.onnx"

    def kernel(self) -> Path:
        path: Path = self._models.save(
            "kernel",
            [helper.make_node("Selu", ["x"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N"])],
            [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N"])],
        )
        return path

    def mapping(self) -> Path:
        return Path(self._models.mapping())

    def lone(self) -> Path:
        return Path(self._models.external("lone", "weights.bin"))

    def missing(self) -> Path:
        return Path(self._models.external("missing", "absent.bin")).parent

    def parent(self) -> Path:
        return Path(self._models.external("parent", "../outside.bin")).parent

    def inner_parent(self) -> Path:
        return Path(self._models.external("inner", "deep/../../outside.bin")).parent

    def absolute(self) -> Path:
        return Path(self._models.external("absolute", str(self._models.folder / "outside.bin"))).parent

    def symlink(self) -> Path:
        folder = Path(self._models.external("symlink", "link.bin")).parent
        if not (folder / "link.bin").is_symlink():
            (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
        return folder

    def short_weights(self) -> Path:
        folder = Path(self._models.external("short", "weights.bin")).parent
        (folder / "weights.bin").write_bytes(b"\0\0\0\0")
        return folder

    def golden(self) -> Path:
        """Beside the model, wrong in one place."""
        file = self._bytes(self.none().read_bytes())
        (self._folder / "golden.json").write_text(_golden([2, 4, 7]))
        return file

    def layer(self) -> Path:
        weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
        path: Path = self._models.save(
            "layer",
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [helper.make_tensor_value_info("x", FLOAT, ["N", 64])],
            [helper.make_tensor_value_info("y", FLOAT, ["N", 64])],
            [numpy_helper.from_array(weights, "w")],
        )
        return path


def _golden(data: list[float]) -> str:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    y = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": data}
    return json.dumps({"requests": [{"inputs": [x], "outputs": [y]}]})


INVALID, MODEL = 15, "InvalidModel"
SETTINGS = (10, "InvalidConfiguration")
OUTSIDE = "leads out of the model's own folder"
CASES: dict[str, Case] = {
    "an empty file": ("empty", {}, INVALID, MODEL, "is not an ONNX model"),
    "not ONNX": ("text", {}, INVALID, MODEL, "is not an ONNX model"),
    "a truncated file": ("truncated", {}, INVALID, MODEL, "model.onnx"),
    "an opset too new": ("opset", {}, INVALID, MODEL, "uses opset 99 of ai.onnx, but ONNX Runtime"),
    "an IR version too new": ("ir_version", {}, INVALID, MODEL, "has IR version 99, but ONNX Runtime"),
    "an unknown operator": ("operator", {}, INVALID, MODEL, "the operator Frobnicate, which ONNX Runtime"),
    "an unknown domain": ("domain", {}, INVALID, MODEL, "the operator Add of the domain com.example"),
    "a type without a kernel": ("kernel", {}, INVALID, MODEL, "uses Selu(6) on a type for which ONNX Runtime"),
    "an output that is no tensor": ("mapping", {}, INVALID, MODEL, "options={'zipmap': False}"),
    "a lone file with weights elsewhere": ("lone", {}, INVALID, MODEL, "give the URI of the folder"),
    "weights missing": ("missing", {}, INVALID, MODEL, "external data 'absent.bin' is missing"),
    "weights above": ("parent", {}, INVALID, MODEL, OUTSIDE),
    "weights above, hidden": ("inner_parent", {}, INVALID, MODEL, OUTSIDE),
    "weights by an absolute path": ("absolute", {}, INVALID, MODEL, OUTSIDE),
    "weights by a link": ("symlink", {}, INVALID, MODEL, OUTSIDE),
    "weights cut short": ("short_weights", {}, INVALID, MODEL, "'w' takes 12 bytes from 0, and the file has 4"),
    "no GPU": ("none", {"HALDANE_DEVICE": "gpu"}, 16, "DeviceUnavailable", "use the runtime-gpu image"),
    "a GPU provider on the CPU": ("none", {"HALDANE_PROVIDERS": "CUDA"}, *SETTINGS, "needs HALDANE_DEVICE gpu"),
    "a CUDA graph on the CPU": ("none", {"HALDANE_CUDA_GRAPH": "on"}, *SETTINGS, "a CUDA graph needs a GPU"),
    "golden requests that cannot be read": ("none", {"HALDANE_GOLDEN": "{}"}, *SETTINGS, "'requests' is missing"),
    "a golden answer missed": ("golden", {}, 18, "GoldenMismatch", "output 'y' is 6 instead of 7 at index [0, 2]"),
    "nothing to convert": ("none", {"HALDANE_PRECISION": "fp16"}, *SETTINGS, "has nothing to convert"),
    "a precision out of tolerance": (
        "layer",
        {"HALDANE_PRECISION": "int8", "HALDANE_PRECISION_TOLERANCE": "0.000001"},
        19,
        "PrecisionLoss",
        "more than the 1e-06 that HALDANE_PRECISION_TOLERANCE allows",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_failure_has_its_code_and_its_sentence(
    start: Callable[..., Any], models: Any, tmp_path: Path, name: str
) -> None:
    fault, environment, code, reason, message = CASES[name]
    log, cache = tmp_path / "termination-log", tmp_path / "cache"
    path = getattr(Faults(models, tmp_path), fault)()
    given = {"HALDANE_TERMINATION_LOG": str(log), "HALDANE_CACHE_DIR": str(cache)} | environment
    server = start(f"file://{path}", **given)
    assert server.ended() == code
    told = json.loads(log.read_text())
    assert told["reason"] == reason
    assert message in told["message"]
    assert told["message"].endswith(".")
    assert "\n" not in told["message"]
    assert "onnxruntime_src" not in told["message"]
    assert json.loads(server.log[-1]) == told
    assert not any(" ready " in line for line in server.log)


def test_a_load_gives_all_that_serving_needs(models: Any, tmp_path: Path) -> None:
    path = models.double()
    (path.parent / "golden.json").write_text(_golden([2, 4, 6]))
    environment = {"HALDANE_MODEL_URI": f"file://{path.parent}", "HALDANE_INTRA_OP_THREADS": "3"}
    loaded = load(from_environment(environment))
    (path.parent / "golden.json").unlink()
    assert (loaded.model.device, loaded.model.precision, loaded.path, loaded.threads) == ("cpu", "fp32", path, 3)
    assert loaded.profile.batchable
    assert loaded.profile.fixed_cost
    assert loaded.inputs is not None
    # The golden request is among what was measured with.
    assert [1, 2, 3] in loaded.inputs["x"].tolist()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (0, "one run takes {0} of the {0} threads allowed"),
        (1, "one run takes {1} threads, as HALDANE_INTRA_OP_THREADS says"),
    ],
)
def test_threads_beyond_what_can_run_are_told(
    models: Any, caplog: pytest.LogCaptureFixture, more: int, message: str
) -> None:
    usable = usable_threads()
    environment = {
        "HALDANE_MODEL_URI": f"file://{models.double()}",
        "HALDANE_INTRA_OP_THREADS": str(usable + more),
    }
    with caplog.at_level("INFO"):
        load(from_environment(environment)).engine.close()
    assert message.format(usable, usable + more) in caplog.text


def test_a_model_whose_values_say_how_long_a_run_takes_is_known(models: Any) -> None:
    loaded = load(from_environment({"HALDANE_MODEL_URI": f"file://{models.work()}"}))
    assert not loaded.profile.fixed_cost


def test_a_kill_during_a_conversion_leaves_nothing_in_the_way(
    start: Callable[..., Any], models: Any, tmp_path: Path
) -> None:
    uri, cache = f"file://{Faults(models, tmp_path).layer()}", tmp_path / "cache"
    settings = {"HALDANE_PRECISION": "fp16", "HALDANE_CACHE_DIR": str(cache)}
    server = start(uri, **settings).listening()
    deadline = time.monotonic() + 20
    while not list(cache.glob("partial/*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.signal(signal.SIGKILL)
    server.ended()
    assert not list(cache.glob("converted/*"))
    start(uri, **settings).ready()
    [folder] = cache.glob("converted/*")
    assert sorted(file.name for file in folder.iterdir()) == ["loss.json", "model.onnx"]
    assert not [entry for entry in cache.glob("partial/*") if entry.is_dir()]
