"""`{"instances": [...]}`: what people type. Rows to tensors and tensors back to rows. Pure.

Rows come in two forms. By row, for a model with one input: `{"instances": [[1, 2], [3, 4]]}`. By
name, for any model: `{"instances": [{"age": 42, "income": 1e5}]}`; a bare value stands for a row of
one, because columns of shape [N, 1] are what tabular exporters write.
"""

from collections.abc import Mapping
from typing import Any

from haldane_runtime.core.errors import invalid
from haldane_runtime.core.types import Array, InferRequest, InferResponse, ModelSignature, TensorSpec
from haldane_runtime.protocol.codec import decode_object, dumps, jsonable, names, require_inputs, require_representable
from haldane_runtime.protocol.tensors import check_shape, shape_of, tensor


def decode_instances(body: bytes, signature: ModelSignature) -> InferRequest:
    """The rows as one tensor an input, the row's number being the first dimension.

    Raises:
        RequestError: INVALID, naming the input and what it expects.
    """
    example = '{"instances": [row, …]}, a row being a list or an object by input name'
    return decode_object(body, example, lambda document: _decode(document, signature))


def _decode(document: dict[str, Any], signature: ModelSignature) -> InferRequest:
    rows = document.get("instances")
    if not isinstance(rows, list) or not rows:
        raise invalid(f"'instances' must be a list of at least one row; the model takes {names(signature.inputs)}")
    columns = _by_name(rows, signature) if isinstance(rows[0], dict) else _by_row(rows, signature)
    symbols: dict[str, tuple[str, int]] = {}
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        if spec.name in columns:
            arrays[spec.name] = _stack(spec, columns[spec.name], symbols)
    require_inputs(arrays, signature)
    for output in signature.outputs:
        require_representable(output, binary=False)
    return InferRequest(arrays, tuple(spec.name for spec in signature.outputs))


def _by_row(rows: list[Any], signature: ModelSignature) -> Mapping[str, list[Any]]:
    if len(signature.inputs) != 1:
        raise invalid(
            f"the model has {len(signature.inputs)} inputs: give each row as an object by input name; "
            f"it takes {names(signature.inputs)}"
        )
    return {signature.inputs[0].name: rows}


def _by_name(rows: list[Any], signature: ModelSignature) -> Mapping[str, list[Any]]:
    keys = rows[0].keys() if rows else frozenset()
    unknown = keys - {spec.name for spec in signature.inputs}
    if unknown:
        raise invalid(f"unknown input '{min(unknown)}'; the model takes {names(signature.inputs)}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != keys:
            raise invalid(
                f"instance {number} differs from instance 0: every row must be an object with the keys {sorted(keys)}"
            )
    return {key: [row[key] for row in rows] for key in keys}


def _stack(spec: TensorSpec, rows: list[Any], symbols: dict[str, tuple[str, int]]) -> Array:
    bare = spec.shape[1:] == (1,) and not isinstance(rows[0], list)
    shape = [len(rows), 1] if bare else shape_of(rows)
    check_shape(spec, shape, symbols)
    return tensor(spec, rows, shape)


def encode_predictions(response: InferResponse, request_id: str, milliseconds: float) -> bytes:
    """One prediction a row: the bare value for a model with one output, else an object by name.

    A model whose outputs do not all have one row an instance cannot be split that way; its tensors
    are given whole, under `outputs`.
    """
    answer: dict[str, Any] = {}
    arrays = response.outputs
    if len(arrays) == 1:
        (only,) = arrays.values()
        answer["predictions"] = jsonable(only) if only.ndim else [only.item()]
    elif all(array.ndim for array in arrays.values()) and len({len(array) for array in arrays.values()}) == 1:
        count = len(next(iter(arrays.values())))
        columns = {name: _row_source(array) for name, array in arrays.items()}
        answer["predictions"] = [{name: column[row] for name, column in columns.items()} for row in range(count)]
    else:
        answer["outputs"] = {name: jsonable(array) for name, array in arrays.items()}
    answer["model_name"] = response.model.name
    answer["model_version"] = response.model.version
    answer["id"] = request_id
    answer["time_ms"] = round(milliseconds, 3)
    return dumps(answer)


def _row_source(array: Array) -> Any:
    """Rows of a matrix go to orjson as arrays; plain values and strings are listed first."""
    values = jsonable(array)
    return values.tolist() if array.ndim == 1 and not isinstance(values, list) else values
