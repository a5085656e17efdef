"""What ONNX Runtime says when it refuses a model, as a reason and a sentence that says what to do. Pure."""

import re
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason


def load_error(model: Path, device: str, error: Exception, version: str) -> LoadError:
    """`version` is ONNX Runtime's own."""
    text = sentence(error)
    if "fallback to CPU EP has been explicitly disabled" in text:
        return LoadError(
            Reason.INVALID_CONFIGURATION,
            "Not every node of the model runs on the providers of HALDANE_PROVIDERS; add CPU at its end.",
        )
    if device == "gpu" and re.search(r"CUDA|cudnn|cublas|ExecutionProvider", str(error)):
        return LoadError(Reason.DEVICE_UNAVAILABLE, f"A GPU was asked for, but CUDA does not work here: {text}.")
    if found := re.search(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", str(error), re.DOTALL):
        return LoadError(
            Reason.INVALID_MODEL,
            f"The model uses opset {found[1]} of {found[2]}, but ONNX Runtime {version} knows opsets up to "
            f"{found[3]}; export it with an opset up to {found[3]}.",
        )
    if found := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", str(error)):
        return LoadError(
            Reason.INVALID_MODEL,
            f"The model has IR version {found[1]}, but ONNX Runtime {version} reads up to {found[2]}; export "
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
    return LoadError(Reason.INVALID_MODEL, f"ONNX Runtime {version} cannot load {model.name}: {text}.")


def sentence(error: Exception) -> str:
    """ONNX Runtime's message on one line, without its source positions and temporary paths."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from \S+ failed:", "", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])|\w+\.cc:\d+ \w+ ", "", text, flags=re.DOTALL)
    return " ".join(text.split()).strip().rstrip(".")[:600] or type(error).__name__
