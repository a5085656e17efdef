"""The same inputs in every form in which a server takes them, and the answers back as arrays."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bench.runtime import protobuf
from bench.runtime.models import Model

Array = NDArray[np.generic]
_TYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}


class Form(StrEnum):
    """How a request and its answer are written."""

    OIP_JSON = "Open Inference Protocol, JSON"
    OIP_BINARY = "Open Inference Protocol, binary tensors"
    OIP_GRPC = "Open Inference Protocol, gRPC, raw_input_contents"
    INSTANCES = 'JSON {"instances": [[...]]} -> {"<output>": [...]}'
    RAW = "the input's bytes -> the first output's bytes"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: path, headers without Content-Length, body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def encode(self, address: str) -> bytes:
        """The whole request as it goes over the wire."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join((*lines, "", "")).encode() + self.body


def http_request(form: Form, path: str, model: Model, row: Array) -> Request:
    """`row` has shape (1, *model.shape)."""
    # As decimal numbers of the precision they were made with, not as the 18 digits of a float32 widened to a double.
    decimal = row.astype(np.float64).round(4)
    if form is Form.INSTANCES:
        return Request(path, _JSON, _dump({"instances": decimal.tolist()}))
    if form is Form.RAW:
        return Request(path, {"Content-Type": "application/octet-stream"}, row.tobytes())
    tensor = {"name": model.input, "shape": list(row.shape), "datatype": "FP32"}
    if form is Form.OIP_JSON:
        return Request(path, _JSON, _dump({"inputs": [tensor | {"data": decimal.ravel().tolist()}]}))
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name, _, _ in model.outputs]
    data = row.tobytes()
    head = _dump({"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}], "outputs": outputs})
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(path, headers, head + data)


def http_answer(form: Form, model: Model, headers: Mapping[str, str], body: bytes) -> dict[str, Array]:
    """The outputs by name; `headers` have lower-case names."""
    if form is Form.RAW:
        name, datatype, shape = model.outputs[0]
        return {name: np.frombuffer(body, _TYPES[datatype]).reshape(1, *shape)}
    if form is Form.INSTANCES:
        answer = json.loads(body)
        # Some servers answer with one object, some with one a row.
        return {name: np.asarray(data) for name, data in (answer[0] if isinstance(answer, list) else answer).items()}
    size = int(headers.get("inference-header-content-length", len(body)))
    outputs, rest = {}, body[size:]
    for tensor in json.loads(body[:size])["outputs"]:
        name, datatype = tensor["name"], _TYPES[tensor["datatype"]]
        count = (tensor.get("parameters") or {}).get("binary_data_size")
        if count is None:
            outputs[name] = np.asarray(tensor["data"], datatype).reshape(tensor["shape"])
        else:
            outputs[name] = np.frombuffer(rest[:count], datatype).reshape(tensor["shape"])
            rest = rest[count:]
    return outputs


def grpc_request(name: str, model: Model, row: Array) -> bytes:
    """An encoded ModelInferRequest."""
    return protobuf.infer_request(name, model.input, row.astype(np.float32))


def differs(expected: Mapping[str, Array], answer: Mapping[str, Array], outputs: int | None = None) -> str:
    """What is wrong with an answer, or nothing; the first `outputs` outputs are compared (all when None).

    A batch takes another path through the matrix products than one row does, so values agree to 1e-4.
    """
    for name, right in list(expected.items())[:outputs]:
        if name not in answer:
            return f"the output {name} is missing; there is {', '.join(answer) or 'none'}"
        values = answer[name]
        if values.size != right.size:
            return f"the output {name} has {values.size} values instead of {right.size}"
        if not np.allclose(values.ravel().astype(float), right.ravel().astype(float), rtol=1e-3, atol=1e-4):
            return f"the output {name} differs from session.run"
    return ""


_JSON = {"Content-Type": "application/json"}


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
