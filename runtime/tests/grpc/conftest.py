"""A repository of models that show what the protocol can carry, one real server over them, and its gRPC port."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

KINDS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
CALL_SECONDS = 20.0


def _identity(models: Any, name: str, kind: int, shape: list[Any] | None) -> Path:
    ends = [helper.make_tensor_value_info(end, kind, shape) for end in "xy"]
    path: Path = models.save(name, [helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:])
    return path


def _arithmetic(models: Any) -> Path:
    """sum = a + b and product = a * b, for a and b of [N, 2], with c of [N] handed through."""

    def info(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Mul", ["a", "b"], ["product"]),
        helper.make_node("Identity", ["c"], ["same"]),
    ]
    inputs = [
        info("a", TensorProto.FLOAT, ["N", 2]),
        info("b", TensorProto.FLOAT, ["N", 2]),
        info("c", TensorProto.INT64, ["N"]),
    ]
    outputs = [
        info("sum", TensorProto.FLOAT, ["N", 2]),
        info("product", TensorProto.FLOAT, ["N", 2]),
        info("same", TensorProto.INT64, ["N"]),
    ]
    path: Path = models.save("arithmetic", nodes, inputs, outputs)
    return path


@pytest.fixture(scope="session")
def zoo(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<model>/1/model.onnx` for each."""
    made = {f"same-{name.lower()}": _identity(models, f"same-{name}", kind, ["N", "M"]) for name, kind in KINDS.items()}
    made |= {f"any-{name.lower()}": _identity(models, f"any-{name}", kind, None) for name, kind in KINDS.items()}
    made |= {
        "arithmetic": _arithmetic(models),
        "lookup": models.lookup(),
        "work": models.work(),
        "double": models.double(),
    }
    root = tmp_path_factory.mktemp("zoo")
    for name, path in made.items():
        (root / name / "1").mkdir(parents=True)
        shutil.copy(path, root / name / "1" / "model.onnx")
    return root


def grpc_port(server: Any) -> int:
    """From the server's own log."""
    (line,) = [line for line in server.log if "gRPC on port" in line]
    return int(line.rsplit(" ", 1)[1])


@pytest.fixture(scope="module")
def server(served: Callable[..., Any], zoo: Path) -> Any:
    return served(
        "",
        HALDANE_MODEL_REPOSITORY=str(zoo),
        HALDANE_REVISION="abc123",
        HALDANE_REQUEST_BYTES=str(32 << 20),
        HALDANE_REQUEST_TIMEOUT="8",
        HALDANE_INTRA_OP_THREADS="1",
    )


@pytest.fixture
def address(server: Any) -> str:
    return f"127.0.0.1:{grpc_port(server)}"


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def port_of() -> Callable[[Any], int]:
    """The gRPC port of a server that `start` made."""
    return grpc_port
