"""Open Inference Protocol v2, JSON: bytes to a validated request and an answer to bytes. Pure.

The request's shape is `{"id", "inputs": [{"name", "shape", "datatype", "data"}], "outputs":
[{"name"}]}`; `data` is flat or nested. A float output that is NaN or Infinity is written as null,
because JSON has no word for it.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import orjson

from haldane_runtime.core.errors import RequestError, invalid
from haldane_runtime.core.types import (
    Array,
    InferRequest,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.protocol.tensors import check_shape, tensor

T = TypeVar("T")

# Above this a body with NaN is refused without a second, slower parse that finds the input's name.
_NAN_SEARCH_BYTES = 1 << 20


def decode_object(body: bytes, example: str, decode: Callable[[dict[str, Any]], T]) -> T:
    """What `decode` makes of the JSON object in `body`.

    Raises:
        RequestError: INVALID, with what is wrong and where; `example` says what to send.
    """
    if not body:
        raise invalid(f"the request body is empty; send {example}")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _explain(body, error, decode) from None
    if not isinstance(document, dict):
        raise invalid(f"the request body must be a JSON object; send {example}")
    try:
        return decode(document)
    except (RecursionError, OverflowError, ValueError) as error:
        # The checks name what they know of; what a client sends must never count as a fault of the model's.
        raise invalid(f"the request body cannot be decoded: {type(error).__name__}; send {example}") from error


def _explain(body: bytes, error: orjson.JSONDecodeError, decode: Callable[[dict[str, Any]], T]) -> RequestError:
    """Python's own parser reads NaN, so that the checks on values can name the input that holds it."""
    near = body[max(0, error.pos - 1) : error.pos + 9]
    if b"NaN" not in near and b"Infinity" not in near and "infinity" not in str(error):
        return invalid(f"the request body is not valid JSON: {error}")
    if len(body) <= _NAN_SEARCH_BYTES:
        try:
            decode(json.loads(body))
        except RequestError as named:
            # It also reads half of a surrogate pair, which no answer could carry.
            return invalid(named.message.encode(errors="replace").decode())
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
    return invalid(f"the request body holds NaN or Infinity, which JSON does not have; send finite numbers: {error}")


def decode_infer(body: bytes, signature: ModelSignature) -> tuple[str | None, InferRequest]:
    """The request's own id, if it has one, and its validated tensors.

    Raises:
        RequestError: INVALID, naming the input and what it expects.
    """
    example = '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
    return decode_object(body, example, lambda document: _decode(document, signature))


def _decode(document: dict[str, Any], signature: ModelSignature) -> tuple[str | None, InferRequest]:
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise invalid("'id' must be a string")
    return request_id, InferRequest(_decode_inputs(document.get("inputs"), signature), _wanted(document, signature))


def _decode_inputs(items: Any, signature: ModelSignature) -> dict[str, Array]:
    if not isinstance(items, list) or not items:
        raise invalid(f"'inputs' must be a list of tensors; the model takes {names(signature.inputs)}")
    specs = {spec.name: spec for spec in signature.inputs}
    symbols: dict[str, tuple[str, int]] = {}
    arrays: dict[str, Array] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise invalid("every item of 'inputs' must be an object with a 'name', 'shape', 'datatype' and 'data'")
        spec = specs.get(name)
        if spec is None:
            raise invalid(f"unknown input '{name}'; the model takes {names(signature.inputs)}")
        if name in arrays:
            raise invalid(f"input '{name}' is given twice")
        arrays[name] = _decode_input(item, spec, symbols)
    require_inputs(arrays, signature)
    return arrays


def _decode_input(item: dict[str, Any], spec: TensorSpec, symbols: dict[str, tuple[str, int]]) -> Array:
    parameters = item.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise invalid(f"input '{spec.name}' is sent as binary data, which is not served here; send 'data' as JSON")
    datatype = item.get("datatype")
    if not isinstance(datatype, str):
        raise invalid(f"input '{spec.name}' expects {spec}; its 'datatype' must be the string \"{spec.datatype}\"")
    if datatype != spec.datatype:
        raise invalid(f"input '{spec.name}' expects {spec}, got datatype {json.dumps(datatype)}")
    shape = item.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise invalid(f"input '{spec.name}' expects {spec}; its 'shape' must be a list of whole numbers from 0 up")
    check_shape(spec, shape, symbols)
    data = item.get("data")
    if not isinstance(data, list):
        raise invalid(f"input '{spec.name}' expects {spec}; its 'data' must be a list")
    return tensor(spec, data, shape)


def require_inputs(arrays: dict[str, Array], signature: ModelSignature) -> None:
    """Raises: RequestError: INVALID, when the model takes an input that is not given."""
    for spec in signature.inputs:
        if spec.name not in arrays:
            raise invalid(f"missing input '{spec.name}': the model expects {spec}")


def _wanted(document: dict[str, Any], signature: ModelSignature) -> tuple[str, ...]:
    known = tuple(spec.name for spec in signature.outputs)
    items = document.get("outputs")
    if items is None or items == []:
        return known
    if not isinstance(items, list):
        raise invalid("'outputs' must be a list of objects with a 'name'")
    wanted = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise invalid("every item of 'outputs' must be an object with a 'name'")
        if name not in known:
            raise invalid(f"unknown output '{name}'; the model has {names(signature.outputs)}")
        wanted.append(name)
    return tuple(dict.fromkeys(wanted))


def encode_infer(response: InferResponse, request_id: str, milliseconds: float) -> bytes:
    """The answer as JSON; `data` is flat in row-major order, `milliseconds` goes to `parameters.time_ms`."""
    specs = {spec.name: spec for spec in response.model.signature.outputs}
    return dumps(
        {
            "model_name": response.model.name,
            "model_version": response.model.version,
            "id": request_id,
            "parameters": {"time_ms": round(milliseconds, 3)},
            "outputs": [
                {
                    "name": name,
                    "datatype": specs[name].datatype,
                    "shape": array.shape,
                    "data": jsonable(array.reshape(-1)),
                }
                for name, array in response.outputs.items()
            ],
        }
    )


def encode_model_metadata(model: ServedModel) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}`."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [_metadata(spec) for spec in model.signature.inputs],
        "outputs": [_metadata(spec) for spec in model.signature.outputs],
    }


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.dims}


def jsonable(array: Array) -> Any:
    """What orjson can write: the array itself, or plain objects for strings and scalars."""
    if array.dtype == np.object_ or array.ndim == 0:
        return array.tolist()
    return np.ascontiguousarray(array)


def dumps(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def names(specs: tuple[TensorSpec, ...]) -> str:
    """`'age' (FP32 of shape [-1, 1]), 'income' (…)`, for error messages."""
    return ", ".join(f"'{spec.name}' ({spec})" for spec in specs)
