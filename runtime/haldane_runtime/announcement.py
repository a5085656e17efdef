"""What a user at a terminal may try next: the lines under `ready`. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec

# More values than these are no example to copy from a terminal.
EXAMPLE_VALUES = 32
EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104


def to_try(plane: DataPlane, host: str, port: int, grpc_port: int | None) -> Iterator[str]:
    """Commands for what is served now, at most a few."""
    base = f"http://{url_host(host)}:{port}"
    served = {instance.model.name: instance.model for instance in plane.instances}
    for name, model in list(served.items())[:3]:
        example = example_instance(model.signature)
        if example is None:
            yield f"try: curl {base}/v2/models/{name}"
        else:
            body = json.dumps({"instances": [example]})
            yield f"try: curl {base}/v1/models/{name}:predict -d '{body}'"
    yield f"     {base}/docs tells every route, {base}/metrics what was served"
    if grpc_port:
        yield f"     grpcurl -plaintext {url_host(host)}:{grpc_port} list"


def url_host(host: str) -> str:
    """How to name in a URL on this machine what HALDANE_HOST names."""
    if host in EVERY_ADDRESS:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def example_instance(signature: ModelSignature) -> Any:
    """One row of zeros as `/v1/predict` takes it; None when it would be too long, or the model takes no rows."""
    values = 0
    row: dict[str, Any] = {}
    for spec in signature.inputs:
        if not spec.shape or spec.datatype in (Datatype.FP16, Datatype.BF16):
            return None
        dims = [dim if isinstance(dim, int) else 1 for dim in spec.shape[1:]]
        size = 1
        for dim in dims:
            size *= dim
        values += size
        if values > EXAMPLE_VALUES:
            return None
        row[spec.name] = _filled(dims, spec)
    return next(iter(row.values())) if len(row) == 1 else row


def _filled(dims: Sequence[int], spec: TensorSpec) -> Any:
    if not dims:
        return {Datatype.BYTES: "text", Datatype.BOOL: False}.get(spec.datatype, 0)
    return [_filled(dims[1:], spec) for _ in range(dims[0])]
