"""Models made on the spot, the real server as a process, a real S3 server and an https server with faults."""

import functools
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import onnx
import pytest
import trustme
from botocore.config import Config
from onnx import TensorProto, helper, numpy_helper

from e2e.apiserver.server import free_ports
from e2e.cluster.ports import is_free

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class Models:
    """Writes small ONNX models, each with a fault or a habit of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, nodes: Any, inputs: Any, outputs: Any, weights: Any = (), opset: int = 17) -> Path:
        graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        path = self.folder / name / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    def double(self, name: str = "double", opset: int = 17, op: str = "Add") -> Path:
        """y = x + x for x of [N, 3]."""
        return self.save(
            name, [helper.make_node(op, ["x", "x"], ["y"])], [_info("x", ["N", 3])], [_info("y", ["N", 3])], opset=opset
        )

    def layers(self) -> Path:
        """Two layers of 64 with weights."""
        random = np.random.default_rng(7)
        weights = [
            numpy_helper.from_array((random.standard_normal(shape) / 8).astype(np.float32), name)
            for name, shape in (("w1", (64, 64)), ("w2", (64, 8)))
        ]
        nodes = [
            helper.make_node("Gemm", ["x", "w1"], ["h"]),
            helper.make_node("Relu", ["h"], ["a"]),
            helper.make_node("Gemm", ["a", "w2"], ["y"]),
        ]
        return self.save("layers", nodes, [_info("x", ["N", 64])], [_info("y", ["N", 8])], weights)

    def person(self) -> Path:
        """Inputs `age` and `name` of [N, 1], outputs log(age), NaN below 0, and the name again."""
        nodes = [helper.make_node("Log", ["age"], ["log"]), helper.make_node("Identity", ["name"], ["echo"])]
        inputs = [_info("age", ["N", 1]), _info("name", ["N", 1], TensorProto.STRING)]
        outputs = [_info("log", ["N", 1]), _info("echo", ["N", 1], TensorProto.STRING)]
        return self.save("person", nodes, inputs, outputs)

    def lookup(self) -> Path:
        """y = table[i]: fails inside the engine for i above 2."""
        table = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "table")
        nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
        return self.save("lookup", nodes, [_info("i", ["N"], TensorProto.INT64)], [_info("y", ["N"])], [table])

    def work(self) -> Path:
        """As many rounds of a 96 x 96 product as the input says: an honest way to be slow."""
        eye = numpy_helper.from_array(np.eye(96, dtype=np.float32), "eye")
        body = helper.make_graph(
            [helper.make_node("MatMul", ["state", "state"], ["next"]), helper.make_node("Identity", ["go"], ["on"])],
            "body",
            [_info("round", [], TensorProto.INT64), _info("go", [], TensorProto.BOOL), _info("state", [96, 96])],
            [_info("on", [], TensorProto.BOOL), _info("next", [96, 96])],
        )
        nodes = [
            helper.make_node("Squeeze", ["rounds"], ["count"]),
            helper.make_node("Loop", ["count", "", "eye"], ["done"], body=body),
            helper.make_node("ReduceSum", ["done"], ["sum"], keepdims=0),
        ]
        return self.save("work", nodes, [_info("rounds", [1], TensorProto.INT64)], [_info("sum", [])], [eye])

    def external(self, name: str, location: str) -> Path:
        """Weights in a file beside the model, at `location`."""
        path = self.double(name)
        weight = numpy_helper.from_array(np.array([1, 1, 1], np.float32), "w")
        (path.parent / "weights.bin").write_bytes(weight.raw_data)
        (path.parent.parent / "outside.bin").write_bytes(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        weight.external_data.add(key="length", value="12")
        return self.save(
            name, [helper.make_node("Add", ["x", "w"], ["y"])], [_info("x", ["N", 3])], [_info("y", ["N", 3])], [weight]
        )

    def mapping(self) -> Path:
        """A classifier's output as a sequence of maps, as exporters of tabular models write by default."""
        nodes = [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])]
        kind = helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        )
        graph = helper.make_graph(nodes, "g", [_info("x", ["N", 3])], [helper.make_value_info("y", kind)])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
        )
        model.ir_version = 8
        path = self.folder / "mapping" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path


def _info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


class Running:
    """`haldane-runtime serve` as a process of its own on a free port of 127.0.0.1."""

    def __init__(self, environment: dict[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("HALDANE_", "AWS_", "ORT_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "haldane_runtime.server", "serve", "--host", "127.0.0.1", "--port", "0"],
            env=own | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.client: httpx.Client | None = None

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            self._lines.put(line)
        self._lines.put(None)

    def _until(self, words: str) -> str:
        deadline = time.monotonic() + START_SECONDS
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            if words in line:
                return line
        raise AssertionError(f"the server ended before it said '{words}': {self.log}")

    def listening(self) -> "Running":
        self.url = f"http://127.0.0.1:{self._until('listening on port').split('port ')[1].split(',')[0]}"
        self.client = httpx.Client(base_url=self.url, timeout=START_SECONDS)
        return self

    def ready(self) -> "Running":
        if self.client is None:
            self.listening()
        self._until(" ready ")
        return self

    def metric(self, name: str, **labels: str) -> float:
        """The value of the one sample of `name` whose labels include these."""
        assert self.client is not None
        for line in self.client.get("/metrics").text.splitlines():
            if (
                line.startswith(name)
                and line[len(name)] in "{ "
                and all(f'{k}="{v}"' in line for k, v in labels.items())
            ):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no sample {name} {labels}")

    def rounds_for(self, seconds: float, model: str = "model") -> int:
        """How many rounds of the working model take at least so long on this machine, when it has nothing else to do."""
        assert self.client is not None
        spans = []
        for rounds in (1000, 10_000, 10_000, 10_000):
            tensor = {"name": "rounds", "shape": [1], "datatype": "INT64", "data": [rounds]}
            started = time.monotonic()
            self.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).raise_for_status()
            spans.append(time.monotonic() - started)
        return int(10_000 * seconds / min(spans[1:]))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(STOP_SECONDS)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        if self.client is not None:
            self.client.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """`start(uri, HALDANE_X=…)` runs a server that ends with the test."""
    running: list[Running] = []

    def starter(uri: str, **environment: str) -> Running:
        running.append(Running({"HALDANE_MODEL_URI": uri} | environment))
        return running[-1]

    yield starter
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[..., Running]]:
    """The same, ready and shared by the tests of a module."""
    running: dict[str, Running] = {}

    def starter(uri: str, **environment: str) -> Running:
        if uri not in running:
            running[uri] = Running({"HALDANE_MODEL_URI": uri} | environment)
            running[uri].ready()
        return running[uri]

    yield starter
    for server in running.values():
        server.stop()


class ObjectStorage:
    """SeaweedFS with two users: `test` may do everything, `other` sees only the bucket `other`."""

    ACCESS, SECRET = "test-access", "test-secret"
    OTHER_ACCESS, OTHER_SECRET = "other-access", "other-secret"

    def __init__(self, folder: Path) -> None:
        users = [
            ("test", self.ACCESS, self.SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("other", self.OTHER_ACCESS, self.OTHER_SECRET, ["Read:other", "List:other"]),
        ]
        identities = [
            {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
            for name, access, secret, actions in users
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir()
        # Each server's gRPC port is as far above its own.
        apart = 10000
        self.port, *others = (port for port in free_ports(20) if is_free(port + apart))
        self.url = f"http://127.0.0.1:{self.port}"
        ports = dict(zip(("master", "volume", "filer"), others, strict=False))
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "weed"),
                    "server",
                    f"-dir={folder / 'data'}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    *(f"-{name}.port={port}" for name, port in ports.items()),
                    "-master.volumeSizeLimitMB=64",
                    "-volume.max=10",
                    "-s3",
                    f"-s3.port={self.port}",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-s3.config={folder / 's3.json'}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.ACCESS,
            aws_secret_access_key=self.SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        self._wait(lambda: self.client.create_bucket(Bucket="models"))
        self._wait(lambda: self.put("probe", b"1"))

    def _wait(self, attempt: Callable[[], object]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                attempt()
            except Exception:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket="models", Key=key, Body=body)
        return f"s3://models/{key}"

    def environment(self) -> dict[str, str]:
        return {
            "HALDANE_S3_ENDPOINT": self.url,
            "AWS_ACCESS_KEY_ID": self.ACCESS,
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
        }

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    server = ObjectStorage(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


class CuttingProxy:
    """A TCP proxy to `port` that cuts the answers of its first connections after `limits` bytes, one limit each."""

    def __init__(self, port: int, limits: list[int]) -> None:
        self._target = port
        self._limits = limits
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                limit = self._limits[self.connections] if self.connections < len(self._limits) else None
                self.connections += 1
                far = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pump, args=(near, far, None), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, limit), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        left = limit
        with suppress(OSError):
            while (left is None or left > 0) and (data := source.recv(1 << 16 if left is None else min(left, 1 << 16))):
                sink.sendall(data)
                left = None if left is None else left - len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cutting() -> Iterator[Callable[[int, list[int]], CuttingProxy]]:
    proxies: list[CuttingProxy] = []

    def make(port: int, limits: list[int]) -> CuttingProxy:
        proxies.append(CuttingProxy(port, limits))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


class WebServer:
    """https on localhost with ETag and, unless `knows_ranges` is False, Range; paths are answered as `files` and
    `statuses` say.

    `part_headers` changes the headers of a part (None takes one away); with `if_range` False any Range gets a part.
    `pause_after` makes the first answer stop after that many bytes, until `resume` is set.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.bundle = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.bundle))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, tuple[int, dict[str, str]]] = {}
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        self.if_range = True
        self.part_headers: dict[str, str | None] = {}
        self.pause_after: int | None = None
        self.paused = threading.Event()
        self.resume = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self.host = f"localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def environment(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self.bundle), "no_proxy": "localhost"}

    def close(self) -> None:
        self.resume.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, web: WebServer, *arguments: Any) -> None:
        self.web = web
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.close_connection = True
        self.web.ranges.append(self.headers["Range"])
        path = self.path.split("?")[0]
        if path in self.web.statuses:
            status, headers = self.web.statuses[path]
            self._head(status, 0, headers)
            return
        body = self.web.files.get(path)
        if body is None:
            self._head(404, 0, {})
            return
        tag = f'"{hash(body)}"'
        held = not self.web.if_range or self.headers.get("If-Range", tag) == tag
        partial = self.web.knows_ranges and self.headers["Range"] and held
        told: dict[str, str | None] = {"ETag": tag}
        if partial:
            start, end = self.headers["Range"].removeprefix("bytes=").split("-")
            size, body = len(body), body[int(start) : int(end) + 1 if end else None]
            told["Content-Range"] = f"bytes {start}-{int(start) + len(body) - 1}/{size}"
            told |= self.web.part_headers
        self._head(206 if partial else 200, len(body), {name: value for name, value in told.items() if value})
        with suppress(OSError):
            self._send(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes) -> None:
        # The first request only asks for the entry; the second is the download.
        if self.web.pause_after is None or len(self.web.ranges) != 2:
            self.wfile.write(body)
            return
        self.wfile.write(body[: self.web.pause_after])
        self.wfile.flush()
        self.web.paused.set()
        self.web.resume.wait(START_SECONDS)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    server = WebServer(tmp_path)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()
