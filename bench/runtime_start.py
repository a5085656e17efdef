"""How long the runtime takes from the start of its process to the first 200 of /ready.

    .venv/bin/python -m bench.runtime_start

The limit it is held against is what no server of this kind can avoid: a Python that imports ONNX
Runtime and FastAPI and ends. Both are started by turns in one run, because the figures move with
the machine and with what else it does. What our own start imports is told beside it, by
`-X importtime`: the largest packages, each with what it imports in turn.
"""

import argparse
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TARGET_SECONDS = 1.2
DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.005
IMPORTS = "import onnxruntime, fastapi"
# All that `serve` imports, some of it beside the load: one after the other here, or their times would be each other's.
OWN_IMPORTS = "import haldane_runtime.lifecycle, haldane_runtime.protocol.grpc.server, haldane_runtime.opening"
LARGEST = 10


def write_model(path: Path, features: int = 30, hidden: int = 64, classes: int = 2) -> None:
    """A small multilayer perceptron: softmax(relu(x W1) W2)."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w1", (features, hidden)), ("w2", (hidden, classes)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


def start_to_ready(model: Path) -> float:
    """Seconds from the spawn to ready.

    Raises:
        RuntimeError: when the server ends, or is not ready within a minute.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe, socket.create_server(("127.0.0.1", 0)) as grpc_probe:
        port, grpc_port = probe.getsockname()[1], grpc_probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "haldane-runtime"), "serve", "--model-uri", f"file://{model}"]
    started = time.perf_counter()
    process = subprocess.Popen(
        # As by default, with gRPC, on a port that is free.
        [*command, "--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(grpc_port)],
        env=_environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - started > DEADLINE_SECONDS:
                raise RuntimeError(f"the runtime did not become ready (exit code {process.poll()})")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def import_only() -> float:
    """Seconds that a Python process takes which only imports ONNX Runtime and FastAPI."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=DEADLINE_SECONDS, env=_environment())
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Import:
    """Seconds of one module by itself, and with all that it was the first to import."""

    module: str
    own: float
    cumulative: float


def own_imports() -> list[Import]:
    """What the runtime imports at its start, of each package the largest, the largest first."""
    command = [sys.executable, "-X", "importtime", "-c", OWN_IMPORTS]
    told = subprocess.run(
        command, check=True, timeout=DEADLINE_SECONDS, env=_environment(), stderr=subprocess.PIPE, text=True
    )
    largest: dict[str, Import] = {}
    for one in sorted(parse_imports(told.stderr), key=lambda one: -one.cumulative):
        # A package's parts are for the most part within one another.
        largest.setdefault(one.module.partition(".")[0], one)
    return list(largest.values())


def parse_imports(text: str) -> Iterator[Import]:
    """Lines such as `import time:       123 |       4567 |   fastapi`, in microseconds; their title has no numbers."""
    for line in text.splitlines():
        if found := re.fullmatch(r"import time: +(\d+) \| +(\d+) \| +(\S+)", line):
            yield Import(found[3], int(found[1]) / 1e6, int(found[2]) / 1e6)


def measure(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of start to ready and of the imports alone, by turns, after one round that warms the page cache."""
    ready, imports = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        write_model(model)
        for _ in range(rounds + 1):
            ready.append(start_to_ready(model))
            imports.append(import_only())
    return ready[1:], imports[1:]


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HALDANE_")}
    return own | {"ORT_DISABLE_TELEMETRY": "1"}


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main() -> int:
    """Print the figures; 1 when the median misses the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    ready, imports = measure(parser.parse_args().rounds)
    for name, seconds in (("start to ready", ready), (f"limit: python -c '{IMPORTS}'", imports)):
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        print(f"{name:45} median {middle:.2f} s   min {low:.2f} s   max {high:.2f} s")
    middle = statistics.median(ready)
    print(f"{middle / statistics.median(imports):.2f} times the limit; the target is under {TARGET_SECONDS:g} s")
    own_imports()  # What was not in the page cache is now.
    print(f"\nlargest packages of the start, {OWN_IMPORTS}:\n{'with its own':>12} {'alone':>8}")
    for one in own_imports()[:LARGEST]:
        print(f"{one.cumulative * 1000:>9.0f} ms {one.own * 1000:>5.0f} ms  {one.module}")
    return int(middle >= TARGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
