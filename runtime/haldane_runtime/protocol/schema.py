"""What the OpenAPI page says of the bodies that the inference routes read themselves."""

from typing import Any


def _object(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_BINARY_SIZE = {
    "type": "integer",
    "minimum": 0,
    "description": "In place of data: so many bytes of the tensor follow the JSON, whose own length the header "
    "Inference-Header-Content-Length gives.",
}
_TENSOR = _object(
    ["name", "shape", "datatype"],
    name={"type": "string"},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
    datatype={"type": "string", "examples": ["FP32"]},
    data={"type": "array", "items": {}, "description": "Flat or nested, in row-major order."},
    parameters=_object([], binary_data_size=_BINARY_SIZE),
)
_OUTPUT = _object(
    ["name"],
    name={"type": "string"},
    parameters=_object([], binary_data={"type": "boolean", "description": "As bytes after the answer's JSON."}),
)
_PARAMETERS = _object(
    [],
    timeout={"type": "integer", "minimum": 0, "description": "Microseconds that the client will wait."},
    binary_data_output={"type": "boolean", "description": "All outputs as bytes, unless one says otherwise."},
)
_REQUEST = _object(
    ["inputs"],
    id={"type": "string"},
    inputs={"type": "array", "items": _TENSOR},
    outputs={"type": "array", "items": _OUTPUT, "description": "The outputs wanted; all of them when left out."},
    parameters=_PARAMETERS,
)
_ROWS = _object(
    ["instances"],
    instances={
        "type": "array",
        "items": {},
        "description": "Rows: lists for a model with one input, objects by input name for any.",
    },
)
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _body(**content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


INFER_SCHEMA = _body(**{"application/json": {"schema": _REQUEST}, "application/octet-stream": _BYTES})
PREDICT_SCHEMA = _body(**{"application/json": {"schema": _ROWS}})
