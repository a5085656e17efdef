"""Every element type that ONNX and numpy share goes through the engine unchanged, in every shape there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import NUMPY_DTYPE, Datatype
from haldane_runtime.engine import onnx
from haldane_runtime.engine.batching import Budget, profile
from haldane_runtime.engine.trial import find_inputs

KIND = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.BF16: TensorProto.BFLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BYTES: TensorProto.STRING,
}
# 1, -2 and 0.5 in bfloat16: the upper halves of the same numbers in float32.
BFLOAT16 = [0x3F80, 0xC000, 0x3F00]


@pytest.fixture
def identity(models: Any) -> Callable[..., onnx.OnnxEngine]:
    def make(datatype: Datatype, shape: list[Any], op: str = "Identity", to: Datatype | None = None) -> onnx.OnnxEngine:
        attributes: Any = {"to": KIND[to]} if to else {}
        node = helper.make_node(op, ["x"], ["y"], **attributes)
        path: Path = models.save(
            f"{op}-{datatype}-{to}-{len(shape)}",
            [node],
            [helper.make_tensor_value_info("x", KIND[datatype], shape)],
            [helper.make_tensor_value_info("y", KIND[to or datatype], shape)],
        )
        return onnx.load(path, "cpu", 1)

    return make


@pytest.mark.parametrize("datatype", Datatype)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (1, 2, 3, 1)], ids=str)
def test_every_type_in_every_shape(
    identity: Callable[..., onnx.OnnxEngine], datatype: Datatype, shape: tuple[int, ...]
) -> None:
    engine = identity(datatype, [None] * len(shape))
    assert engine.signature.inputs[0].datatype is engine.signature.outputs[0].datatype is datatype
    dtype = NUMPY_DTYPE[datatype]
    values = ["ann", "", "bö\0"] if datatype is Datatype.BYTES else [0, 1, 2]
    sent = np.resize(np.array(values, dtype), shape)
    got = engine.run({"x": sent}, ("y",))["y"]
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (dtype, shape)
    assert got.tolist() == sent.tolist()


def test_bfloat16_is_computed_with_and_not_only_carried(identity: Callable[..., onnx.OnnxEngine]) -> None:
    widen = identity(Datatype.BF16, ["N"], "Cast", Datatype.FP32)
    bits = np.array(BFLOAT16, np.uint16)
    assert widen.run({"x": bits}, ("y",))["y"].tolist() == [1, -2, 0.5]
    narrow = identity(Datatype.FP32, ["N"], "Cast", Datatype.BF16)
    assert narrow.run({"x": np.array([1, -2, 0.5], np.float32)}, ("y",))["y"].tolist() == BFLOAT16


def test_bfloat16_from_memory_that_is_not_in_order(identity: Callable[..., onnx.OnnxEngine]) -> None:
    engine = identity(Datatype.BF16, ["N", 2])
    sent = np.arange(12, dtype=np.uint16).reshape(2, 6)[:, ::3].T
    assert engine.run({"x": sent}, ("y",))["y"].tolist() == sent.tolist()


def test_bfloat16_answers_outlive_the_engine(identity: Callable[..., onnx.OnnxEngine]) -> None:
    engine = identity(Datatype.BF16, ["N"])
    got = engine.run({"x": np.array(BFLOAT16, np.uint16)}, ("y",))["y"]
    engine.run({"x": np.zeros(3, np.uint16)}, ("y",))
    engine.close()
    assert got.tolist() == BFLOAT16


@pytest.mark.parametrize("datatype", Datatype)
def test_every_type_may_be_batched(identity: Callable[..., onnx.OnnxEngine], datatype: Datatype) -> None:
    engine = identity(datatype, ["N", 2])
    found = profile(engine, find_inputs(engine).inputs, 0.0, 4, Budget(1, 1))
    assert found.batchable, found.reason


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.BF16])
@pytest.mark.parametrize("inputs", [{}, {"x": 1, "more": 1}, {"other": 1}], ids=["none", "too many", "another"])
def test_wrong_names_are_the_clients_fault(
    identity: Callable[..., onnx.OnnxEngine], datatype: Datatype, inputs: dict[str, int]
) -> None:
    array = np.zeros(1, NUMPY_DTYPE[datatype])
    with pytest.raises(RequestError) as caught:
        identity(datatype, ["N"]).run(dict.fromkeys(inputs, array), ("y",))
    assert caught.value.code is Code.INVALID
