"""The servers that are compared: how each is started, and with which settings of its own documentation."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.runtime import tools
from bench.runtime.models import Model
from bench.runtime.payloads import Form
from bench.runtime.results import ECHO, ECHO_AND_RUN

CORES = len(os.sched_getaffinity(0))
MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Launch:
    """What a start is given: the model, its ports, an empty folder, the Python of its environment."""

    model: Model
    http: int
    grpc: int
    spare: int
    folder: Path
    python: Path

    @property
    def bin(self) -> Path:
        return self.python.parent


@dataclass(frozen=True, slots=True)
class Start:
    command: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """`wires` gives for each of json, binary and grpc the form and the path; {model} stands for the model's name."""

    name: str
    title: str
    settings: str
    """Which settings were chosen, and the page of the server's documentation that says so."""
    wires: Mapping[str, tuple[Form, str]]
    ready: str
    start: Callable[[Launch], Start]
    environment: str = ""
    """The folder below `peers` whose requirements it needs; none for what runs in this project's own environment."""
    python: bool = True
    """A server in Python, for the goals that speak of Python peers."""

    def interpreter(self) -> Path:
        return tools.environment(f"peers/{self.environment}") if self.environment else Path(sys.executable)


_OIP = "/v2/models/{model}/infer"
_OIP_ALL = {"json": (Form.OIP_JSON, _OIP), "binary": (Form.OIP_BINARY, _OIP), "grpc": (Form.OIP_GRPC, "")}


def environ(launch: Launch, start: Start) -> dict[str, str]:
    """The caller's environment without what steers a server, and the model for the peers' applications."""
    hidden = ("HALDANE_", "PYTHON", "VIRTUAL_ENV", "RAY_", "BENTOML_", "MLSERVER_", "OTEL_", "OMP_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    given = {
        "ORT_DISABLE_TELEMETRY": "1",
        "PATH": f"{launch.bin}{os.pathsep}{own.get('PATH', '')}",
        "BENCH_MODEL": str(launch.model.path),
        "BENCH_NAME": launch.model.name,
        "BENCH_INTRA_OP": "1",
        "BENCH_HTTP": str(launch.http),
        "BENCH_GRPC": str(launch.grpc),
        "BENCH_WORKERS": str(CORES),
        "BENCH_MAX_BATCH": str(MAX_BATCH),
    }
    return {**own, **given, **start.environ}


def _haldane(launch: Launch) -> Start:
    environ = {
        "HALDANE_MODEL_NAME": launch.model.name,
        "HALDANE_CACHE_DIR": str(launch.folder / "cache"),
        "HALDANE_TERMINATION_LOG": str(launch.folder / "termination-log"),
        "HALDANE_GRPC_PORT": str(launch.grpc),
    }
    command = [str(launch.bin / "haldane-runtime"), "serve", "--model-uri", f"file://{launch.model.path}"]
    return Start([*command, "--host", "127.0.0.1", "--port", str(launch.http)], environ)


def _triton(launch: Launch) -> Start:
    model, folder = launch.model, launch.folder
    site = launch.bin.parent / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    server = site / "pytriton" / "tritonserver"
    version = folder / "repository" / model.name / "1"
    version.mkdir(parents=True)
    (version / "model.py").symlink_to(tools.HERE / "peers/triton/model.py")
    (version.parent / "config.pbtxt").write_text(_triton_config(model))
    # The backend looks for the stub of its Python next to itself.
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    stub = server / "python_backend_stubs" / site.parent.name.removeprefix("python") / "triton_python_backend_stub"
    for file in (*(server / "backends" / "python").iterdir(), stub):
        (backend / file.name).symlink_to(file)
    libraries = [str(site / "nvidia_pytriton.libs"), str(Path(sys.base_prefix) / "lib")]
    command = [str(server / "bin/tritonserver"), f"--model-repository={version.parent.parent}"]
    command += [f"--backend-directory={backend.parent}", "--allow-metrics=false", "--log-info=false"]
    command += ["--http-address=127.0.0.1", f"--http-port={launch.http}"]
    command += ["--grpc-address=127.0.0.1", f"--grpc-port={launch.grpc}"]
    return Start(command, {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})


def _triton_config(model: Model) -> str:
    def tensor(name: str, datatype: str, shape: tuple[int, ...]) -> str:
        dims = ", ".join(map(str, shape)) or "1"
        # The label of a row has the batch's dimension alone.
        reshape = "" if shape else " reshape: { shape: [] }"
        return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [{dims}]{reshape} }}'

    outputs = ", ".join(tensor(*output) for output in model.outputs)
    # Large inputs gain nothing from a batch on a processor, so that one instance a core serves them best.
    count = CORES if model.name == "image" else 1
    return f"""
backend: "python"
max_batch_size: {MAX_BATCH}
input [ {tensor(model.input, "FP32", model.shape)} ]
output [ {outputs} ]
dynamic_batching {{ max_queue_delay_microseconds: 100 }}
instance_group [ {{ kind: KIND_CPU, count: {count} }} ]
"""


def _fastapi(workers: int) -> Callable[[Launch], Start]:
    def start(launch: Launch) -> Start:
        command = [str(launch.bin / "uvicorn"), "app:app", "--app-dir", str(tools.HERE / "peers/fastapi")]
        command += ["--host", "127.0.0.1", "--port", str(launch.http), "--workers", str(workers), "--no-access-log"]
        return Start(command)

    return start


def _mlserver(launch: Launch) -> Start:
    server = {
        "host": "127.0.0.1",
        "http_port": launch.http,
        "grpc_port": launch.grpc,
        "metrics_port": launch.spare,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
        "use_structured_logging": False,
    }
    model = {
        "name": launch.model.name,
        "implementation": "onnx_runtime.OnnxModel",
        "max_batch_size": MAX_BATCH,
        "max_batch_time": 0.005,
    }
    (launch.folder / "settings.json").write_text(json.dumps(server))
    (launch.folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(launch.bin / "mlserver"), "start", str(launch.folder)]
    return Start(command, {"PYTHONPATH": str(tools.HERE / "peers/mlserver")})


def _kserve(launch: Launch) -> Start:
    command = [str(launch.python), str(tools.HERE / "peers/kserve/app.py")]
    command += [f"--http_port={launch.http}", f"--grpc_port={launch.grpc}", f"--workers={CORES}"]
    return Start([*command, "--enable_latency_logging=false"])


def _litserve(launch: Launch) -> Start:
    return Start([str(launch.python), str(tools.HERE / "peers/litserve/app.py")])


def _bentoml(launch: Launch) -> Start:
    command = [str(launch.bin / "bentoml"), "serve", "service:Onnx", "--working-dir", str(tools.HERE / "peers/bentoml")]
    command += ["--host", "127.0.0.1", "--port", str(launch.http)]
    return Start(command, {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(launch.folder / "home")})


def _ray(launch: Launch) -> Start:
    environ = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_TMPDIR": str(launch.folder)}
    return Start([str(launch.python), str(tools.HERE / "peers/ray/app.py")], environ)


def echo(answer_bytes: int, run: bool) -> Server:
    """The raw ASGI application that the goal for one connection is held against, with or without a run of the model."""

    def start(launch: Launch) -> Start:
        command = [str(launch.bin / "uvicorn"), "bench.runtime.echo:app", "--app-dir", str(tools.HERE.parent.parent)]
        command += ["--host", "127.0.0.1", "--port", str(launch.http), "--no-access-log"]
        return Start(command, {"BENCH_ANSWER_BYTES": str(answer_bytes), "BENCH_RUN": str(int(run))})

    wires = {"json": (Form.OIP_JSON, "/")}
    if run:
        return Server(ECHO_AND_RUN, "raw ASGI echo with raw session.run", "one process of uvicorn", wires, "/", start)
    return Server(ECHO, "raw ASGI echo", "one process of uvicorn", wires, "/", start)


SERVERS = (
    Server("haldane", "Haldane", "defaults of `haldane-runtime serve`", _OIP_ALL, "/ready", _haldane),
    Server(
        "triton",
        "Triton 2.51",
        "Python backend, dynamic batching (max_batch_size 64, max_queue_delay_microseconds 100, measured as its best), one instance "
        "(one a core for the image model). Docs: Triton user guide, Dynamic Batching & Concurrent Model Execution",
        _OIP_ALL,
        "/v2/health/ready",
        _triton,
        "triton",
        python=False,
    ),
    Server(
        "fastapi",
        "FastAPI route",
        "async route around session.run in one process of uvicorn with uvloop and httptools, access log off",
        {"json": (Form.INSTANCES, "/predict"), "binary": (Form.RAW, "/raw")},
        "/health",
        _fastapi(1),
        "fastapi",
    ),
    Server(
        "fastapi-workers",
        f"FastAPI, {CORES} workers",
        "the same with one worker a core. Docs: FastAPI, Server Workers; Uvicorn, Settings",
        {"json": (Form.INSTANCES, "/predict"), "binary": (Form.RAW, "/raw")},
        "/health",
        _fastapi(CORES),
        "fastapi",
    ),
    Server(
        "mlserver",
        "MLServer 1.7",
        "adaptive batching (max_batch_size 64, max_batch_time 5 ms), no worker pool, metrics off. "
        "Docs: MLServer user guide, Adaptive Batching and Parallel Inference",
        {"json": (Form.OIP_JSON, _OIP), "grpc": (Form.OIP_GRPC, "")},
        "/v2/health/ready",
        _mlserver,
        "mlserver",
    ),
    Server(
        "kserve",
        "KServe 0.21",
        "custom predictor with an async predict, one worker a core (gRPC has one), latency logging off. "
        "Docs: KServe, Python Runtime SDK API",
        _OIP_ALL,
        "/v2/health/ready",
        _kserve,
        "kserve",
    ),
    Server(
        "litserve",
        "LitServe 0.2",
        "batching (max_batch_size 64, batch_timeout 5 ms), one API server a core, fast_queue. Docs: LitServe, Batching",
        {"json": (Form.INSTANCES, "/predict")},
        "/health",
        _litserve,
        "litserve",
    ),
    Server(
        "bentoml",
        "BentoML 1.4",
        "one worker a core, adaptive batching (max_batch_size 64), metrics and access log off. Docs: BentoML, Adaptive batching",
        {"json": (Form.INSTANCES, "/predict")},
        "/readyz",
        _bentoml,
        "bentoml",
    ),
    Server(
        "ray",
        "Ray Serve 2.60",
        "one replica a core, serve.batch (64, 1 ms), RAY_SERVE_THROUGHPUT_OPTIMIZED=1. "
        "Docs: Ray Serve, Performance Tuning and Dynamic Request Batching",
        {"json": (Form.INSTANCES, "/")},
        "/",
        _ray,
        "ray",
    ),
)
