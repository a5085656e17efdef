"""ONNX Runtime: the only importer of onnxruntime.

Custom-op libraries are never registered, and external data outside the model's folder is refused
by ONNX Runtime itself (symbolic links included). A request for a GPU that cannot be met is an
error: ONNX Runtime would otherwise go on with the CPU and a warning.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from haldane_runtime.core.errors import Code, LoadError, Reason, RequestError, invalid
from haldane_runtime.core.types import Array, Datatype, ModelSignature, TensorSpec

# Since 1.29 the published wheels report sessions to their maker over the network unless this is set
# before the import. A model server must not talk to third parties about its models.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

_DATATYPE = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}

_PROVIDER = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}


class OnnxEngine:
    """An inference session and the signature it was checked against."""

    def __init__(self, session: ort.InferenceSession, signature: ModelSignature, device: str) -> None:
        self._session = session
        self.signature = signature
        self.device = device

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """See `Engine.run`."""
        try:
            arrays = self._session.run(outputs, inputs)
        except Exception as error:
            # A mismatch with the graph's own interface is told before any node runs.
            if isinstance(error, ort.capi.onnxruntime_pybind11_state.InvalidArgument) and "running" not in str(error):
                raise invalid(f"the model refuses the inputs: {_sentence(error)}") from error
            raise RequestError(Code.MODEL_FAILED, f"the model failed: {_sentence(error)}") from error
        return dict(zip(outputs, arrays, strict=True))

    def close(self) -> None:
        del self._session


def load(model: Path, device: str, threads: int) -> OnnxEngine:
    """Open a session with full graph optimisation, `threads` intra-op threads and no spinning.

    Raises:
        LoadError: DeviceUnavailable, InvalidModel.
    """
    if device == "gpu":
        _prepare_gpu()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads burn the very quota that the next request needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(model), options, providers=_providers(device))
    except Exception as error:
        raise _load_error(model, device, error) from error
    session.disable_fallback()
    if _PROVIDER[device] not in session.get_providers():
        raise LoadError(
            Reason.DEVICE_UNAVAILABLE,
            "A GPU was asked for, but ONNX Runtime could not start CUDA on it; check the driver and that the pod "
            "requests nvidia.com/gpu.",
        )
    return OnnxEngine(session, signature_of(session), device)


def signature_of(session: ort.InferenceSession) -> ModelSignature:
    """Raises: LoadError: InvalidModel, for an input or output that no client could send or read."""
    return ModelSignature(
        tuple(_spec("input", node) for node in session.get_inputs()),
        tuple(_spec("output", node) for node in session.get_outputs()),
    )


def _spec(kind: str, node: Any) -> TensorSpec:
    datatype = _DATATYPE.get(node.type)
    if datatype is None:
        advice = " (with skl2onnx: options={'zipmap': False})" if node.type.startswith("seq(map") else ""
        raise LoadError(
            Reason.INVALID_MODEL,
            f"The model's {kind} '{node.name}' is a {node.type}, which is not served; export it as a tensor of "
            f"numbers, booleans or strings{advice}.",
        )
    return TensorSpec(node.name, datatype, tuple(dim if dim is not None else "" for dim in node.shape))


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    # Exhaustive search would time every convolution at start; the heuristic is within a few percent.
    return [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}), "CPUExecutionProvider"]


def _prepare_gpu() -> None:
    if _PROVIDER["gpu"] not in ort.get_available_providers():
        raise LoadError(
            Reason.DEVICE_UNAVAILABLE,
            "A GPU was asked for, but this image's ONNX Runtime has no CUDA; use the runtime-gpu image or device: cpu.",
        )
    ort.preload_dlls()


def _load_error(model: Path, device: str, error: Exception) -> LoadError:
    text = _sentence(error)
    if device == "gpu" and re.search(r"CUDA|cudnn|cublas|ExecutionProvider", str(error)):
        return LoadError(Reason.DEVICE_UNAVAILABLE, f"A GPU was asked for, but CUDA does not work here: {text}.")
    if found := re.search(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", str(error), re.DOTALL):
        return LoadError(
            Reason.INVALID_MODEL,
            f"The model uses opset {found[1]} of {found[2]}, but ONNX Runtime {ort.__version__} knows opsets up to "
            f"{found[3]}; export it with an opset up to {found[3]}.",
        )
    if found := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", str(error)):
        return LoadError(
            Reason.INVALID_MODEL,
            f"The model has IR version {found[1]}, but ONNX Runtime {ort.__version__} reads up to {found[2]}; export "
            "it with an older version of onnx.",
        )
    if "No graph was found" in text or "Protobuf parsing failed" in text:
        return LoadError(Reason.INVALID_MODEL, f"{model.name} is not an ONNX model: {text}.")
    if "External data path" in str(error):
        return LoadError(
            Reason.INVALID_MODEL,
            f"The model's external data must lie inside its own folder, and the URI must name the folder: {text}.",
        )
    if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "Failed to allocate" in str(error):
        return LoadError(Reason.LOAD_FAILED, f"The model does not fit into the memory of this container: {text}.")
    return LoadError(Reason.INVALID_MODEL, f"ONNX Runtime {ort.__version__} cannot load {model.name}: {text}.")


def _sentence(error: Exception) -> str:
    """ONNX Runtime's message on one line, without its source positions and temporary paths."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from \S+ failed:", "", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])|\w+\.cc:\d+ \w+ ", "", text, flags=re.DOTALL)
    return " ".join(text.split()).strip().rstrip(".")[:600] or type(error).__name__
