"""Golden requests: known inputs with the answers that the model must give before it may serve.

    {"requests": [{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}],
                   "outputs": [{"name": "y", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}],
     "tolerance": {"relative": 1e-3, "absolute": 1e-5}}

Tensors are those of the Open Inference Protocol in JSON; `data` may be flat or nested, null stands for
NaN. A request may name only some outputs, or none: then it is only an example of what will come, for the
warm-up and the measurements.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.comparison import Tolerance, first_difference

GOLDEN_FILE = "golden.json"

_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
_FLOATS = (Datatype.BF16, Datatype.FP16, Datatype.FP32, Datatype.FP64)


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """All inputs, and the expected outputs by name, of which there may be none."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Golden:
    """Never empty; `source` names where the requests come from."""

    source: str
    requests: tuple[GoldenRequest, ...]
    tolerance: Tolerance


def read(setting: str | None, model: Path) -> tuple[str, str] | None:
    """The text and its source: `setting` as JSON or as a path, or else the file beside the model, if any.

    Raises:
        LoadError: InvalidConfiguration, when the file cannot be read.
    """
    if setting and setting.lstrip().startswith("{"):
        return setting, "HALDANE_GOLDEN"
    path = Path(setting) if setting else model.parent / GOLDEN_FILE
    try:
        return path.read_text(encoding="utf-8"), str(path) if setting else GOLDEN_FILE
    except FileNotFoundError as error:
        if not setting:
            return None
        raise LoadError(Reason.INVALID_CONFIGURATION, f"HALDANE_GOLDEN {path} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(Reason.INVALID_CONFIGURATION, f"The golden requests {path} cannot be read: {error}.") from error


def parse(text: str, source: str, signature: ModelSignature) -> Golden:
    """Raises: LoadError: InvalidConfiguration, naming the request and what is wrong with it."""
    try:
        return _golden(json.loads(text), source, signature)
    except (_Wrong, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise LoadError(
            Reason.INVALID_CONFIGURATION, f"The golden requests of {source} cannot be used: {_what(error)}."
        ) from error


def check(engine: Engine, golden: Golden, tolerance: Tolerance) -> None:
    """Run every request and compare.

    Raises:
        LoadError: GoldenMismatch, naming the request, the output, the index, and both values.
    """
    for number, request in enumerate(golden.requests):
        names = list(request.outputs) or [spec.name for spec in engine.signature.outputs]
        try:
            got = engine.run(request.inputs, names)
        except RequestError as error:
            raise _mismatch(golden, number, error.message) from error
        if difference := first_difference(engine.signature.outputs, got, request.outputs, tolerance):
            raise _mismatch(golden, number, str(difference))


def _mismatch(golden: Golden, number: int, what: str) -> LoadError:
    return LoadError(
        Reason.GOLDEN_MISMATCH,
        f"The model does not give the golden answers: request {number} of {golden.source}: {what}; correct the model or "
        "the expected answers.",
    )


class _Wrong(Exception):
    """A sentence without its end."""


def _what(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _golden(document: Any, source: str, signature: ModelSignature) -> Golden:
    tolerance = document.get("tolerance", {}) if isinstance(document, dict) else {}
    limits = Tolerance(float(tolerance.get("relative", _RELATIVE)), float(tolerance.get("absolute", _ABSOLUTE)))
    requests = document["requests"]
    if not isinstance(requests, list) or not requests:
        raise _Wrong("it holds no requests")
    found = []
    for number, request in enumerate(requests):
        try:
            found.append(_request(request, signature))
        except (_Wrong, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise _Wrong(f"request {number}: {_what(error)}") from error
    return Golden(source, tuple(found), limits)


def _request(request: Any, signature: ModelSignature) -> GoldenRequest:
    inputs = _tensors("input", request["inputs"], signature.inputs)
    if lacking := [spec.name for spec in signature.inputs if spec.name not in inputs]:
        raise _Wrong(f"the input '{lacking[0]}' is missing")
    return GoldenRequest(inputs, _tensors("output", request.get("outputs", []), signature.outputs))


def _tensors(kind: str, tensors: Any, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    known = {spec.name: spec for spec in specs}
    found: dict[str, Array] = {}
    for tensor in tensors:
        name = tensor["name"]
        if name not in known:
            raise _Wrong(f"the model has no {kind} '{name}', only {', '.join(known)}")
        if tensor["datatype"] != known[name].datatype:
            raise _Wrong(f"the {kind} '{name}' is {known[name].datatype}, not {tensor['datatype']}")
        if name in found:
            raise _Wrong(f"the {kind} '{name}' is given twice")
        found[name] = _array(known[name], tensor["shape"], tensor["data"])
    return found


def _array(spec: TensorSpec, shape: Sequence[int], data: Any) -> Array:
    fixed = [dim if isinstance(dim, int) else None for dim in spec.shape]
    if fixed and (len(fixed) != len(shape) or any(a is not None and a != b for a, b in zip(fixed, shape, strict=True))):
        raise _Wrong(f"'{spec.name}' is {spec}, not of shape {shape}")
    values = np.array(data, dtype=object).ravel()
    if values.size != math.prod(shape):
        raise _Wrong(f"'{spec.name}' of shape {shape} needs {math.prod(shape)} values, got {values.size}")
    allowed = _allowed(spec.datatype)
    if strange := next((value for value in values if type(value) not in allowed), None):
        raise _Wrong(f"'{spec.name}' is {spec.datatype}, which {strange!r} is not")
    if spec.datatype is Datatype.BF16:
        return _bfloat16(values.astype(np.float32)).reshape(shape)
    # By way of numpy's own reading of a list: it refuses numbers that do not fit, where a cast would wrap them round.
    return np.array(values.tolist(), dtype=NUMPY_DTYPE[spec.datatype]).reshape(shape)


def _allowed(datatype: Datatype) -> tuple[type, ...]:
    if datatype is Datatype.BYTES:
        return (str,)
    if datatype is Datatype.BOOL:
        return (bool,)
    return (int, float, type(None)) if datatype in _FLOATS else (int,)


def _bfloat16(numbers: Array) -> Array:
    """Bits of the nearest bfloat16, ties to even, as a model's own conversion rounds."""
    bits = np.ascontiguousarray(numbers).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(numbers), 0x7FC0, rounded).astype(np.uint16)
