"""ONNX Runtime for real: what loads, what is refused and with which sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from haldane_runtime.core.errors import Code, LoadError, Reason, RequestError
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import onnx
from haldane_runtime.engine.binding import FixedMemory


def refused(path: Path, reason: Reason, message: str, device: str = "cpu") -> None:
    with pytest.raises(LoadError) as caught:
        onnx.load(path, device, 1)
    assert caught.value.reason is reason
    assert message in caught.value.message
    assert "onnxruntime_src" not in caught.value.message


def test_the_signature_keeps_names_of_dimensions(models: Any) -> None:
    assert onnx.load(models.person(), "cpu", 1).signature == ModelSignature(
        (TensorSpec("age", Datatype.FP32, ("N", 1)), TensorSpec("name", Datatype.BYTES, ("N", 1))),
        (TensorSpec("log", Datatype.FP32, ("N", 1)), TensorSpec("echo", Datatype.BYTES, ("N", 1))),
    )


def test_outputs_come_in_the_order_asked_for(models: Any) -> None:
    inputs = {"age": np.array([[1]], np.float32), "name": np.array([["ann"]], object)}
    outputs = onnx.load(models.person(), "cpu", 1).run(inputs, ("echo", "log"))
    assert list(outputs) == ["echo", "log"]
    assert outputs["echo"].tolist() == [["ann"]]
    assert outputs["log"].tolist() == [[0]]


@pytest.mark.parametrize("content", [b"", b"hello world", b"\x08\x08" * 50])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    refused(tmp_path / "model.onnx", Reason.INVALID_MODEL, "model.onnx is not an ONNX model")


def test_a_truncated_model_is_refused(models: Any, tmp_path: Path) -> None:
    whole = models.double().read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "model.onnx", Reason.INVALID_MODEL, "model.onnx")


def test_what_this_runtime_is_too_old_for_is_named(models: Any) -> None:
    refused(models.double("future", opset=99), Reason.INVALID_MODEL, "uses opset 99 of ai.onnx, but ONNX Runtime")


def test_an_unknown_operator_is_named(models: Any) -> None:
    refused(
        models.double("odd", op="Frobnicate"), Reason.INVALID_MODEL, "uses the operator Frobnicate, which ONNX Runtime"
    )


def test_external_data_stays_in_the_folder(models: Any) -> None:
    inside = onnx.load(models.external("inside", "weights.bin"), "cpu", 1)
    assert inside.run({"x": np.array([[1, 2, 3]], np.float32)}, ("y",))["y"].tolist() == [[2, 3, 4]]
    (models.folder / "linked").mkdir()
    (models.folder / "linked/link.bin").symlink_to(models.folder / "outside.bin")
    outside = "leads out of the model's own folder"
    for name, location, message in (
        ("leaving", "../outside.bin", outside),
        ("absolute", str(models.folder / "outside.bin"), outside),
        ("linked", "link.bin", outside),
        ("lacking", "absent.bin", "'absent.bin' is missing"),
    ):
        refused(models.external(name, location), Reason.INVALID_MODEL, message)


def test_outputs_that_are_no_tensors_are_refused_with_the_way_out(models: Any) -> None:
    refused(models.mapping(), Reason.INVALID_MODEL, "options={'zipmap': False}")


def test_a_gpu_that_is_not_there_is_an_error(models: Any) -> None:
    refused(
        models.double(), Reason.DEVICE_UNAVAILABLE, "HALDANE_DEVICE asks for a GPU, but the ONNX Runtime", device="gpu"
    )


def test_a_failing_model_is_the_models_fault(models: Any) -> None:
    engine = onnx.load(models.lookup(), "cpu", 1)
    assert engine.run({"i": np.array([2], np.int64)}, ("y",))["y"].tolist() == [3]
    with pytest.raises(RequestError, match="the model failed") as caught:
        engine.run({"i": np.array([7], np.int64)}, ("y",))
    assert caught.value.code is Code.MODEL_FAILED


def test_inputs_that_the_graph_itself_refuses_are_the_clients_fault(models: Any) -> None:
    engine = onnx.load(models.double(), "cpu", 1)
    with pytest.raises(RequestError, match="the model refuses the inputs") as caught:
        engine.run({"x": np.array([1, 2], np.float32)}, ("y",))
    assert caught.value.code is Code.INVALID


def test_memory_that_is_bound_once_gives_each_run_its_own_answer(models: Any) -> None:
    """As for a CUDA graph, on the CPU."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    outputs = [info("y", TensorProto.FLOAT, [2, 3]), info("z", TensorProto.FLOAT, [2, 3])]
    path = models.save("fixed", nodes, [info("x", TensorProto.FLOAT, [2, 3])], outputs)
    session = onnxruntime.InferenceSession(path)
    signature = onnx.signature_of(session)
    engine = onnx.OnnxEngine(session, signature, "cpu", FixedMemory(session, signature, "cpu"))
    first = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = engine.run({"x": first}, ("z", "y"))
    other = engine.run({"x": np.asfortranarray(first * 10)}, ("y",))
    assert list(one) == ["z", "y"]
    assert one["y"].tolist() == (first * 2).tolist()
    assert one["z"].tolist() == (-first).tolist()
    assert other["y"].tolist() == (first * 20).tolist()
    with pytest.raises(RequestError, match="must be of shape"):
        engine.run({"x": first[:1]}, ("y",))
