"""One server with a model for each datatype and for each habit that a client may have."""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from e2e.cluster import paths

REQUEST_BYTES = 8 << 20
INSTALL_SECONDS = 240

# The protocol's name, ONNX's, and what numpy (with ml_dtypes) calls it. All that ONNX and the protocol share.
DATATYPES: dict[str, tuple[int, Any]] = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "BF16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3,), (0,), (2, 3), (2, 0, 3), (1, 2, 3, 4))


def sample(datatype: str, shape: tuple[int, ...]) -> Any:
    """Values to the ends of the datatype's range, in that shape."""
    dtype = DATATYPES[datatype][1]
    if datatype == "BYTES":
        values: list[Any] = [b"", b"a", "aé\0".encode(), b"x" * 300]
    elif datatype == "BOOL":
        values = [True, False]
    elif datatype in ("FP16", "BF16", "FP32", "FP64"):
        info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
        values = [0.0, 1.5, -2.0, float(info.max), float(info.min)]
    else:
        values = [0, 1, int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)]
    array = np.empty(shape, dtype)
    array[...] = np.resize(np.array(values, dtype), shape)
    return array


@pytest.fixture(scope="session")
def pinned() -> Callable[[str], Path]:
    """Makes the environment that has what `<name>.txt` beside this file pins, and nothing else; once on a machine."""

    def environment(name: str) -> Path:
        pins = Path(__file__).with_name(f"{name}.txt")
        base = paths.home() / "clients"
        folder = base / f"{name}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
        python = folder / "bin" / "python"
        base.mkdir(parents=True, exist_ok=True)
        with (base / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "ready").exists():
                uv = Path(sys.executable).parent / "uv"
                for command in (
                    [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
                    [str(uv), "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(pins)],
                ):
                    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
                (folder / "ready").touch()
        return folder

    return environment


@pytest.fixture(scope="session")
def datatypes() -> dict[str, tuple[int, Any]]:
    return DATATYPES


@pytest.fixture(scope="session")
def samples() -> Callable[[str, tuple[int, ...]], Any]:
    return sample


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "datatype" in metafunc.fixturenames:
        metafunc.parametrize("datatype", list(DATATYPES))
    if "shape" in metafunc.fixturenames:
        metafunc.parametrize("shape", SHAPES, ids=str)


def _info(name: str, kind: int, shape: list[Any] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _write(folder: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = ()) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _several(folder: Path) -> None:
    """a (FP32 [N, 2]), b (INT64 [N, 1]) and s (BYTES [N, 1]) to a + b, b + b and s."""
    nodes = [
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "c"], ["sum"]),
        helper.make_node("Add", ["b", "b"], ["twice"]),
        helper.make_node("Identity", ["s"], ["echo"]),
    ]
    kinds = {"a": (TensorProto.FLOAT, 2), "b": (TensorProto.INT64, 1), "s": (TensorProto.STRING, 1)}
    inputs = [_info(name, kind, ["N", width]) for name, (kind, width) in kinds.items()]
    outputs = [
        _info(name, kinds[like][0], ["N", kinds[like][1]])
        for name, like in (("sum", "a"), ("twice", "b"), ("echo", "s"))
    ]
    _write(folder, nodes, inputs, outputs)


def _work(folder: Path) -> None:
    """As many rounds of a 96 x 96 product as the input says: an honest way to be slow."""
    eye = numpy_helper.from_array(np.eye(96, dtype=np.float32), "eye")
    body = helper.make_graph(
        [helper.make_node("MatMul", ["state", "state"], ["next"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            _info("round", TensorProto.INT64, []),
            _info("go", TensorProto.BOOL, []),
            _info("state", TensorProto.FLOAT, [96, 96]),
        ],
        [_info("on", TensorProto.BOOL, []), _info("next", TensorProto.FLOAT, [96, 96])],
    )
    nodes = [
        helper.make_node("Squeeze", ["rounds"], ["count"]),
        helper.make_node("Loop", ["count", "", "eye"], ["done"], body=body),
        helper.make_node("ReduceSum", ["done"], ["sum"], keepdims=0),
    ]
    _write(folder, nodes, [_info("rounds", TensorProto.INT64, [1])], [_info("sum", TensorProto.FLOAT, [])], [eye])


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: `identity_<datatype>` of any rank, `several`, `work`, and two versions of `double`."""
    folder = tmp_path_factory.mktemp("zoo")
    for datatype, (kind, _) in DATATYPES.items():
        identity = helper.make_node("Identity", ["x"], ["y"])
        _write(folder / f"identity_{datatype}" / "1", [identity], [_info("x", kind, None)], [_info("y", kind, None)])
    _several(folder / "several" / "1")
    _work(folder / "work" / "1")
    for version, op in (("1", "Add"), ("2", "Mul")):
        nodes = [helper.make_node(op, ["x", "x"], ["y"])]
        ends = ([_info(name, TensorProto.FLOAT, ["N", 3])] for name in "xy")
        _write(folder / "double" / version, nodes, *ends)
    return folder


@pytest.fixture(scope="module")
def server(served: Callable[..., Any], zoo: Path) -> Any:
    return served("", HALDANE_MODEL_REPOSITORY=str(zoo), HALDANE_REQUEST_BYTES=str(REQUEST_BYTES))


@pytest.fixture(scope="module")
def grpc_address(server: Any) -> str:
    (line,) = [line for line in server.log if "gRPC on port" in line]
    return f"127.0.0.1:{line.rsplit(' ', 1)[1]}"
