"""Converts a model to another precision: `python -m haldane_runtime.engine.conversion JOB`, a JSON object.

A process of its own, because a conversion holds the model several times over, and the tools leave files
in the temporary folder: both are gone when it ends, and the server never imports `onnx`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

# Convolutions are left out: they are several times slower when the range is found anew in each run.
_DYNAMIC_OPERATORS = ["MatMul", "Gemm", "Gather", "LSTM", "Attention", "EmbedLayerNormalization"]

_INTEGER_NODES = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "DynamicQuantizeLSTM",
        "QAttention",
    }
)


# An exit code that no crash has.
NOTHING = 3


class Nothing(Exception):
    """The model has nothing to convert."""


class _Requests(CalibrationDataReader):  # type: ignore[misc]
    """Calibration by recorded requests, one at a time, as `precision` wrote them."""

    def __init__(self, file: Path) -> None:
        self._requests = _requests(file)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._requests, None)


def _requests(file: Path) -> Iterator[dict[str, Any]]:
    with np.load(file) as arrays:
        keys = [(key, *key.split(":", 1)) for key in arrays.files]
        for number in sorted({int(number) for _, number, _ in keys}):
            yield {name: arrays[key] for key, one, name in keys if int(one) == number}


def to_fp16(source: Path, target: Path, external: bool) -> None:
    """Inputs and outputs keep their types, so that clients see no difference.

    Raises:
        Nothing: the model has no weights in fp32.
    """
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise Nothing
    onnx.save(model, target, save_as_external_data=external, location="weights.bin")


def to_int8(source: Path, target: Path, external: bool, calibration: Path | None) -> None:
    """Static with calibration requests: fast, and no row depends on another. Dynamic without.

    Raises:
        Nothing: no operator of the model has an integer form.
    """
    if calibration is None:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=_DYNAMIC_OPERATORS,
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=external,
        )
    else:
        prepared = target.with_name("prepared.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True, save_as_external_data=external)
        quantize_static(
            prepared,
            target,
            _Requests(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=external,
        )
        for file in target.parent.glob("prepared.onnx*"):
            file.unlink()
    if not any(node.op_type in _INTEGER_NODES for node in onnx.load(target, load_external_data=False).graph.node):
        raise Nothing


def main() -> int:
    """Exit code 0 when done, `NOTHING` when there is nothing to convert; else the last line of stderr says why."""
    job = json.loads(sys.argv[1])
    source, target, external = Path(job["source"]), Path(job["target"]), bool(job["external"])
    try:
        if job["precision"] == "fp16":
            to_fp16(source, target, external)
        else:
            to_int8(source, target, external, Path(job["calibration"]) if job["calibration"] else None)
    except Nothing:
        return NOTHING
    return 0


if __name__ == "__main__":
    sys.exit(main())
