"""What ONNX Runtime says when it refuses a model, as a reason and a sentence that says what to do. Pure."""

import re
from collections.abc import Sequence
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason

_Pattern = tuple[str, Reason, str]

# The first that is found counts. A sentence may use the pattern's groups, `{model}`, the file's name, and `{ort}`,
# the name of the program with its version.
_GPU: Sequence[_Pattern] = (
    (
        r"fallback to CPU EP has been explicitly disabled",
        Reason.INVALID_CONFIGURATION,
        "Not every node of the model runs on the providers of HALDANE_PROVIDERS; add CPU at its end.",
    ),
    (
        r"CUDA|cudnn|cublas|ExecutionProvider",
        Reason.DEVICE_UNAVAILABLE,
        "HALDANE_DEVICE asks for a GPU, but CUDA does not work here: {said}.",
    ),
)
_ANY: Sequence[_Pattern] = (
    (
        r"Opset (?P<opset>\d+) is under development.*domain (?P<domain>\S+) is till opset (?P<last>\d+)",
        Reason.INVALID_MODEL,
        "The model uses opset {opset} of {domain}, but {ort} knows opsets up to {last}; export it with an opset up to {last}.",
    ),
    (
        r"Unsupported model IR version: (?P<given>\d+), max supported IR version: (?P<last>\d+)",
        Reason.INVALID_MODEL,
        "The model has IR version {given}, but {ort} reads up to {last}; export it with an older version of onnx.",
    ),
    (
        r"Op registered for (?P<operator>\S+) (?:with|is deprecated in) domain_version of (?P<opset>\d+)",
        Reason.INVALID_MODEL,
        "The model uses the operator {operator}, which {ort} does not have in opset {opset}; export it with standard "
        "operators.",
    ),
    (
        r"(?P<domain>[\w.]+):(?P<operator>\w+)\(\S+\) is not a registered function/op",
        Reason.INVALID_MODEL,
        "The model uses the operator {operator} of the domain {domain}, which {ort} does not have; libraries of custom "
        "operators are not loaded, so export it with standard ones.",
    ),
    (
        r"Could not find an implementation for (?P<operator>\S+) node",
        Reason.INVALID_MODEL,
        "The model uses {operator} on a type for which {ort} has no kernel here; export it with another type.",
    ),
    (
        r"No graph was found|Protobuf parsing failed",
        Reason.INVALID_MODEL,
        "{model} is not an ONNX model, or not a whole one: {said}.",
    ),
    (
        r'External data path does not exist: "(?:.*/)?(?P<file>[^"]+)"',
        Reason.INVALID_MODEL,
        "The model's external data '{file}' is missing; it must lie inside the model's own folder, and the URI must name "
        "the folder.",
    ),
    (
        r'External data path escapes model directory\. External data path: "(?P<file>[^"]+)"',
        Reason.INVALID_MODEL,
        "The model's external data '{file}' leads out of the model's own folder, which is not allowed; put it there.",
    ),
    (
        r"Absolute path not allowed for external data",
        Reason.INVALID_MODEL,
        "The model's external data is named by an absolute path, which leads out of the model's own folder; put it there.",
    ),
    (
        r"External initializer: (?P<tensor>.+?) offset: (?P<offset>\d+) size to read: (?P<size>\d+) "
        r"given file_length: (?P<length>\d+)",
        Reason.INVALID_MODEL,
        "The model's external data is not whole: '{tensor}' takes {size} bytes from {offset}, and the file has {length}.",
    ),
    (
        r"External data path",
        Reason.INVALID_MODEL,
        "The model's external data must lie inside its own folder, and the URI must name the folder: {said}.",
    ),
    (
        r"Failed to construct locale with name:(?P<locale>[\w.@-]+)",
        Reason.INVALID_MODEL,
        "The model normalises text by the rules of {locale}, which this image does not have; export its StringNormalizer "
        "with the locale C.UTF-8.",
    ),
    (
        r"bad_alloc|Failed to allocate",
        Reason.LOAD_FAILED,
        "The model does not fit into the memory of this container: {said}.",
    ),
    (r"", Reason.INVALID_MODEL, "{ort} cannot load {model}: {said}."),
)


def load_error(model: Path, device: str, error: Exception, version: str) -> LoadError:
    """`version` is ONNX Runtime's own."""
    told = "bad_alloc" if isinstance(error, MemoryError) else str(error)
    for pattern, reason, text in (*(_GPU if device == "gpu" else ()), *_ANY):
        if found := re.search(pattern, told, re.DOTALL):
            facts = {"model": model.name, "ort": f"ONNX Runtime {version}", "said": sentence(error)}
            return LoadError(reason, text.format(**facts, **found.groupdict()))
    raise AssertionError("the last pattern fits everything")


def sentence(error: Exception) -> str:
    """ONNX Runtime's message on one line, without its source positions and temporary paths."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from \S+ failed:", "", text)
    text = re.sub(
        r"/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])|/onnxruntime_src/\S+ |\w+\.cc:\d+ \w+ ", "", text, flags=re.DOTALL
    )
    return " ".join(text.split()).strip().rstrip(".")[:600] or type(error).__name__
