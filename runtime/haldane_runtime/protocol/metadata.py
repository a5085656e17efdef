"""What the protocol tells of a model: metadata, as plain objects. Pure."""

from typing import Any

from haldane_runtime.core.types import ServedModel, TensorSpec

PLATFORM = "onnxruntime_onnx"


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}`."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in model.signature.inputs],
        "outputs": [_tensor(spec) for spec in model.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.dims}
