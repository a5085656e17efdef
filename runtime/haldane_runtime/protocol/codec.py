"""Open Inference Protocol v2 over HTTP: a body to a validated request, an answer to a body. Pure.

The request is a JSON object `{"id", "inputs": [{"name", "shape", "datatype", "data"}], "outputs":
[{"name"}], "parameters"}`; `data` is flat or nested. With the binary extension an input has
`parameters.binary_data_size` in place of `data`, its bytes follow the JSON in the order of the
inputs, and a header says where the JSON ends. A float output that is NaN or Infinity is written as
null in JSON, which has no word for it.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson

from haldane_runtime.core.errors import RequestError, invalid
from haldane_runtime.core.types import Array, Datatype, InferRequest, InferResponse, ModelSignature, TensorSpec
from haldane_runtime.protocol import parameters as given
from haldane_runtime.protocol.binary import raw_bytes, raw_tensor, whole_body
from haldane_runtime.protocol.tensors import NotFinite, check_shape, tensor

T = TypeVar("T")

HEADER_LENGTH = "Inference-Header-Content-Length"

# Above this a body with NaN is refused without a second, slower parse that finds the input's name.
_NAN_SEARCH_BYTES = 1 << 20

_NONE: frozenset[str] = frozenset()
_EXAMPLE = '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'


class Decoded(NamedTuple):
    """A request: its own id, its tensors, the outputs that it wants as binary data, its `parameters`."""

    id: str | None
    request: InferRequest
    binary: frozenset[str]
    parameters: Mapping[str, Any]


def decode_object(body: bytes | memoryview, example: str, decode: Callable[[dict[str, Any]], T]) -> T:
    """What `decode` makes of the JSON object in `body`.

    Raises:
        RequestError: INVALID, with what is wrong and where; `example` says what to send.
    """
    if not body:
        raise invalid(f"the request body is empty; send {example}")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _explain(bytes(body), error, decode) from None
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
            decode(json.loads(body, parse_constant=lambda _: NotFinite(), parse_float=_finite))
        except RequestError as named:
            # It also reads half of a surrogate pair, which no answer could carry.
            told = invalid(named.message.encode(errors="replace").decode())
            told.request_id = named.request_id
            return told
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
    return invalid(
        f"the request body holds NaN or Infinity, which JSON does not have, or a number too large for FP64: {error}"
    )


def _finite(literal: str) -> float | NotFinite:
    number = float(literal)
    return number if math.isfinite(number) else NotFinite()


def header_length(value: str | None) -> int | None:
    """The header that says how many bytes of the body are JSON. Raises: RequestError: INVALID, for no count."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise invalid(f"the header {HEADER_LENGTH} must be a whole number of bytes from 0 up, got '{value}'")
    return int(value)


def decode_infer(body: bytes | memoryview, header_length: int | None, signature: ModelSignature) -> Decoded:
    """A validated request. Its tensors may share the memory of `body`.

    `header_length` is the number of bytes of JSON before the binary data; None when all of the body
    is JSON, 0 when all of it is the data of the model's only input.

    Raises:
        RequestError: INVALID, naming the input and what it expects.
    """
    if header_length is None:
        return decode_object(body, _EXAMPLE, lambda document: _decode(document, None, signature))
    view = memoryview(body)
    if header_length > len(view):
        raise invalid(f"the header {HEADER_LENGTH} says {header_length} bytes, but the body has {len(view)}")
    if header_length == 0:
        return _decode_whole(view, signature)
    tail = view[header_length:]
    return decode_object(view[:header_length], _EXAMPLE, lambda document: _decode(document, tail, signature))


def _decode_whole(body: memoryview, signature: ModelSignature) -> Decoded:
    if len(signature.inputs) != 1:
        raise invalid(
            f"the header {HEADER_LENGTH} is 0, which makes the body one input, but the model takes "
            f"{names(signature.inputs)}; send a JSON object before the data"
        )
    (spec,) = signature.inputs
    outputs = tuple(output.name for output in signature.outputs)
    return Decoded(None, InferRequest({spec.name: whole_body(spec, body)}, outputs), frozenset(outputs), given.NONE)


def _decode(document: dict[str, Any], tail: memoryview | None, signature: ModelSignature) -> Decoded:
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise invalid("'id' must be a string")
    try:
        parameters = given.parameters_of(document)
        if parameters:
            given.check_request(parameters)
        arrays = _decode_inputs(document.get("inputs"), tail, signature)
        outputs, binary = _wanted(document.get("outputs"), parameters, signature)
    except RequestError as error:
        error.request_id = request_id or ""
        raise
    return Decoded(request_id, InferRequest(arrays, outputs), binary, parameters)


def _decode_inputs(items: Any, tail: memoryview | None, signature: ModelSignature) -> dict[str, Array]:
    if not isinstance(items, list) or not items:
        raise invalid(f"'inputs' must be a list of tensors; the model takes {names(signature.inputs)}")
    specs = {spec.name: spec for spec in signature.inputs}
    symbols: dict[str, tuple[str, int]] = {}
    arrays: dict[str, Array] = {}
    offset = 0
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise invalid("every item of 'inputs' must be an object with a 'name', 'shape', 'datatype' and 'data'")
        spec = specs.get(name)
        if spec is None:
            raise invalid(f"unknown input '{name}'; the model takes {names(signature.inputs)}")
        if name in arrays:
            raise invalid(f"input '{name}' is given twice")
        shape = _shape(item, spec, symbols)
        size = _binary_size(item, spec)
        if size is None:
            arrays[name] = _decode_json(item, spec, shape)
        else:
            arrays[name] = raw_tensor(spec, _slice(tail, offset, size, spec), shape)
            offset += size
    require_inputs(arrays, signature)
    if tail is not None and offset != len(tail):
        raise invalid(f"the body holds {len(tail) - offset} bytes more than the inputs' binary_data_size say")
    return arrays


def _shape(item: dict[str, Any], spec: TensorSpec, symbols: dict[str, tuple[str, int]]) -> list[int]:
    datatype = item.get("datatype")
    if datatype != spec.datatype:
        if not isinstance(datatype, str):
            raise invalid(f"input '{spec.name}' expects {spec}; its 'datatype' must be the string \"{spec.datatype}\"")
        raise invalid(f"input '{spec.name}' expects {spec}, got datatype {json.dumps(datatype)}")
    shape = item.get("shape")
    if not isinstance(shape, list):
        raise _no_shape(spec)
    for size in shape:
        if type(size) is not int or size < 0:
            raise _no_shape(spec)
    check_shape(spec, shape, symbols)
    return shape


def _no_shape(spec: TensorSpec) -> RequestError:
    return invalid(
        f"input '{spec.name}' expects {spec}; its 'shape' must be a list of whole numbers from 0 up, below 2^63"
    )


def _binary_size(item: dict[str, Any], spec: TensorSpec) -> int | None:
    if "parameters" not in item:
        return None
    parameters = given.parameters_of(item, "input", spec.name)
    given.check_input(parameters, spec.name)
    size = given.size(parameters, "binary_data_size", "input", spec.name)
    if size is not None and "data" in item:
        raise invalid(f"input '{spec.name}' has both 'data' and 'binary_data_size'; send one of them")
    return size


def _slice(tail: memoryview | None, offset: int, size: int, spec: TensorSpec) -> memoryview:
    if tail is None:
        raise invalid(
            f"input '{spec.name}' is said to be binary data, but the request has no header {HEADER_LENGTH} that says "
            "where its JSON ends"
        )
    if size > len(tail) - offset:
        raise invalid(
            f"input '{spec.name}' is said to have {size} bytes of binary data, but {len(tail) - offset} are left for it"
        )
    return tail[offset : offset + size]


def _decode_json(item: dict[str, Any], spec: TensorSpec, shape: list[int]) -> Array:
    data = item.get("data")
    if not isinstance(data, list):
        raise invalid(f"input '{spec.name}' expects {spec}; its 'data' must be a list")
    return tensor(spec, data, shape)


def require_inputs(arrays: dict[str, Array], signature: ModelSignature) -> None:
    """Raises: RequestError: INVALID, when the model takes an input that is not given."""
    if len(arrays) == len(signature.inputs):
        return
    for spec in signature.inputs:
        if spec.name not in arrays:
            raise invalid(f"missing input '{spec.name}': the model expects {spec}")


def _wanted(
    items: Any, parameters: Mapping[str, Any], signature: ModelSignature
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Which outputs, in order and each once, and which of them as binary data."""
    by_default = bool(parameters) and given.flag(parameters, "binary_data_output") is True
    specs = signature.outputs
    if items is None or items == []:
        if not by_default:
            for spec in specs:
                require_representable(spec, binary=False)
        everything = tuple([spec.name for spec in specs])
        return everything, frozenset(everything) if by_default else _NONE
    known = {spec.name: spec for spec in specs}
    wanted = _asked(items, by_default, known, signature)
    for name, binary in wanted.items():
        require_representable(known[name], binary)
    return tuple(wanted), frozenset(name for name, binary in wanted.items() if binary)


def _asked(items: Any, by_default: bool, known: Mapping[str, TensorSpec], signature: ModelSignature) -> dict[str, bool]:
    if not isinstance(items, list):
        raise invalid("'outputs' must be a list of objects with a 'name'")
    wanted: dict[str, bool] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise invalid("every item of 'outputs' must be an object with a 'name'")
        if name not in known:
            raise invalid(f"unknown output '{name}'; the model has {names(signature.outputs)}")
        parameters = given.parameters_of(item, "output", name)
        given.check_output(parameters, name)
        binary = given.flag(parameters, "binary_data", "output", name)
        wanted[name] = by_default if binary is None else binary
    return wanted


def require_representable(spec: TensorSpec, binary: bool) -> None:
    """Raises: RequestError: INVALID, for an output that is wanted as JSON, which has no numbers for it."""
    if spec.datatype is Datatype.BF16 and not binary:
        raise invalid(
            f"output '{spec.name}' is BF16, which JSON has no numbers for; ask for it with \"binary_data\": true, or "
            'for all with "binary_data_output": true'
        )


def encode_infer(
    response: InferResponse, request_id: str, milliseconds: float, binary: frozenset[str] = frozenset()
) -> tuple[bytes, int | None]:
    """The answer's body and, when it holds binary data, the length of the JSON before it.

    Outputs named in `binary` follow the JSON as raw bytes, in order; the others are in the JSON, flat
    in row-major order. `milliseconds` goes to `parameters.time_ms`.
    """
    specs = {spec.name: spec for spec in response.model.signature.outputs}
    outputs: list[dict[str, Any]] = []
    raw: list[memoryview] = []
    for name, array in response.outputs.items():
        output: dict[str, Any] = {"name": name, "datatype": specs[name].datatype, "shape": array.shape}
        if name in binary:
            data = raw_bytes(array)
            raw.append(data)
            output["parameters"] = {"binary_data_size": data.nbytes}
        else:
            output["data"] = jsonable(array.reshape(-1))
        outputs.append(output)
    head = dumps(
        {
            "model_name": response.model.name,
            "model_version": response.model.version,
            "id": request_id,
            "parameters": {"time_ms": round(milliseconds, 3)},
            "outputs": outputs,
        }
    )
    if not raw:
        return head, None
    return b"".join((head, *raw)), len(head)


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
