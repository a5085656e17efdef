"""Several models and versions in one process, as unmodified clients see them."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from onnx import helper
from tritonclient.utils import InferenceServerException

from bench.runtime_process import RuntimeProcess

WAIT = 20.0


def times(models: Any, target: Path, factor: int) -> None:
    """A model y = factor · x of [N, 3] at `target`."""
    nodes = [helper.make_node("Identity", ["x"], ["s1"])]
    nodes += [helper.make_node("Add", [f"s{n}", "x"], [f"s{n + 1}"]) for n in range(1, factor)]
    nodes += [helper.make_node("Identity", [f"s{factor}"], ["y"])]
    double = models.double()
    source = models.save(f"times-{factor}", nodes, *_ends(double))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Put in its place in one step, as whoever publishes a model must.
    shutil.copy(source, staged := target.with_suffix(".tmp"))
    os.replace(staged, target)


def _ends(path: Path) -> tuple[Any, Any]:
    import onnx

    graph = onnx.load(path).graph
    return list(graph.input), list(graph.output)


@pytest.fixture
def repository(models: Any, tmp_path: Path) -> Path:
    root = tmp_path / "models"
    times(models, root / "twice/1/model.onnx", 2)
    times(models, root / "more/3/model.onnx", 3)
    times(models, root / "more/10/model.onnx", 10)
    (root / "broken/1").mkdir(parents=True)
    (root / "broken/1/model.onnx").write_bytes(b"this is no model")
    return root


@pytest.fixture
def serve(start: Callable[..., Any], repository: Path) -> Callable[..., Any]:
    def serve(**environment: str) -> Any:
        return start("", HALDANE_MODEL_REPOSITORY=str(repository), **environment).ready()

    return serve


def client_of(server: Any) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=1)


def ask(client: triton.InferenceServerClient, model: str, version: str = "") -> float:
    tensor = triton.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 3), np.float32), binary_data=False)
    wanted = triton.InferRequestedOutput("y", binary_data=False)
    return float(client.infer(model, [tensor], model_version=version, outputs=[wanted]).as_numpy("y")[0, 0])


def states(client: triton.InferenceServerClient) -> dict[str, str]:
    return {f"{row['name']}/{row['version']}": row["state"] for row in client.get_model_repository_index()}


def test_all_models_and_versions_are_served_beside_one_that_fails(serve: Callable[..., Any]) -> None:
    server = serve()
    client = client_of(server)
    assert (ask(client, "twice"), ask(client, "more"), ask(client, "more", "3")) == (2, 10, 3)
    index = {f"{row['name']}/{row['version']}": row for row in client.get_model_repository_index()}
    assert {key: row["state"] for key, row in index.items()} == {
        "broken/1": "UNAVAILABLE",
        "more/3": "READY",
        "more/10": "READY",
        "twice/1": "READY",
    }
    assert "is not an ONNX model" in index["broken/1"]["reason"]
    ready = server.client.post("/v2/repository/index", json={"ready": True}).json()
    assert [row["name"] for row in ready] == ["more", "more", "twice"]
    # The protocol: a server is ready when all of its models are, and a model by itself.
    assert not client.is_server_ready()
    assert client.is_server_live()
    assert client.is_model_ready("twice")
    assert client.is_model_ready("more", "3")
    assert not client.is_model_ready("broken")
    with pytest.raises(InferenceServerException, match="could not be loaded"):
        ask(client, "broken")
    assert server.client.post("/v1/models/twice:predict", json={"instances": [[1, 2, 3]]}).status_code == 200
    unnamed = server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]})
    assert unnamed.status_code == 400
    assert "'more', 'twice'" in unnamed.json()["error"]


def test_models_are_loaded_and_unloaded_by_request(
    serve: Callable[..., Any], repository: Path, models: Any, tmp_path: Path
) -> None:
    server = serve(HALDANE_MODEL_CONTROL="explicit")
    client = client_of(server)
    client.unload_model("twice")
    assert not client.is_model_ready("twice")
    assert states(client)["twice/1"] == "UNAVAILABLE"
    client.load_model("twice")
    assert ask(client, "twice") == 2
    times(models, repository / "new.onnx", 5)
    client.load_model("new")
    assert ask(client, "new") == 5
    with pytest.raises(InferenceServerException, match="InvalidModel"):
        client.load_model("broken")
    times(models, repository / "broken/1/model.onnx", 4)
    client.load_model("broken")
    assert client.is_server_ready()
    for name in ("absent", "..", "%2e%2e%2fsecret"):
        answer = server.client.post(f"/v2/repository/models/{name}/load")
        assert (answer.status_code, "error" in answer.json()) == (404, True)
    refused = server.client.post("/v2/repository/models/twice/load", json={"parameters": {"config": "{}"}})
    assert refused.status_code == 400
    assert server.client.post("/v2/repository/index", content=b"[").status_code == 400


def test_a_new_version_takes_over_without_a_failed_request(
    serve: Callable[..., Any], repository: Path, models: Any
) -> None:
    server = serve(HALDANE_MODEL_CONTROL="explicit", HALDANE_REQUEST_TIMEOUT="2")
    stop = threading.Event()
    seen: list[tuple[int, float]] = []

    def send() -> None:
        with httpx.Client(base_url=server.url, timeout=WAIT) as client:
            while not stop.is_set():
                answer = client.post("/v1/models/twice:predict", json={"instances": [[1, 1, 1]]})
                assert answer.status_code == 200, answer.text
                seen.append((answer.status_code, answer.json()["predictions"][0][0]))

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send) for _ in range(4)]
        for factor in (3, 4, 5):
            times(models, repository / "twice/1/model.onnx", factor)
            assert server.client.post("/v2/repository/models/twice/load").status_code == 200
        times(models, repository / "twice/2/model.onnx", 6)
        shutil.rmtree(repository / "twice/1")
        assert server.client.post("/v2/repository/models/twice/load").status_code == 200
        asked = len(seen)
        while len(seen) < asked + 20 and not any(sender.done() for sender in senders):
            stop.wait(0.01)
        stop.set()
        for sender in senders:
            sender.result()
    assert {status for status, _ in seen} == {200}
    assert seen[-1][1] == 6
    assert {value for _, value in seen} <= {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "line", [b"", b"X-Request-Timeout: 15\r\nTransfer-Encoding: chunked\r\n"], ids=["hot", "general"]
)
def test_a_body_that_arrives_while_its_version_is_replaced_is_answered(
    serve: Callable[..., Any], repository: Path, models: Any, line: bytes
) -> None:
    server = serve(HALDANE_MODEL_CONTROL="explicit", HALDANE_REQUEST_TIMEOUT="20")
    body = b'{"instances": [[1, 1, 1]]}'
    first, last = body[:9], body[9:]
    if line:
        first, last = (b"%x\r\n%b\r\n" % (len(part), part) for part in (first, last))
    else:
        line = b"Content-Length: %d\r\n" % len(body)
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 0), timeout=WAIT) as connection:
        connection.sendall(b"POST /v1/models/twice:predict HTTP/1.1\r\nHost: x\r\n%b\r\n%b" % (line, first))
        # Answered after what came before it on another connection.
        assert server.client.get("/health").status_code == 200
        for factor in (3, 4):
            times(models, repository / "twice/1/model.onnx", factor)
            assert server.client.post("/v2/repository/models/twice/load").status_code == 200
        connection.sendall(last + (b"0\r\n\r\n" if b"chunked" in line else b""))
        answer = b""
        while not answer.endswith(b"}") and (part := connection.recv(1 << 16)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"[[2.0,2.0,2.0]]" in answer


def test_without_model_control_a_load_is_refused(serve: Callable[..., Any]) -> None:
    client = client_of(serve())
    for operation in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="HALDANE_MODEL_CONTROL=explicit") as caught:
            operation("twice")
        assert caught.value.status() == "403"


def test_one_model_has_an_index_and_is_reloaded_too(start: Callable[..., Any], models: Any, tmp_path: Path) -> None:
    times(models, tmp_path / "one/model.onnx", 2)
    server = start(f"file://{tmp_path}/one", HALDANE_MODEL_CONTROL="explicit").ready()
    client = client_of(server)
    (before,) = client.get_model_repository_index()
    assert (before["name"], before["state"]) == ("model", "READY")
    times(models, tmp_path / "one/model.onnx", 3)
    client.load_model("model")
    (after,) = client.get_model_repository_index()
    assert after["version"] != before["version"]
    assert ask(client, "model") == 3


def test_a_folder_on_the_command_line_is_a_repository(repository: Path) -> None:
    with RuntimeProcess(repository) as runtime:
        assert runtime.get("/v2/models/more/versions/3")[0] == 200
        status, text = runtime.get("/v2/health/ready")
        assert status == 503
        assert "model 'broken' could not be loaded: " in text
    (repository / "more/11").mkdir()
    (repository / "more/11/model.onnx").write_bytes(b"this is no model")
    with RuntimeProcess(repository / "more") as runtime:
        assert json.loads(runtime.get("/v2/models/more")[1])["versions"] == ["3", "10"]
        status, text = runtime.get("/ready")
        assert status == 200
        assert "model 'more' version 11: " in json.loads(text)["left_out"][0]


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({}, 11, "holds no model"),
        ({"only/1/model.onnx": b"scrap"}, 15, "The model 'only' version 1 could not be loaded: "),
        ({"only/1/model.onnx": b"scrap", "b/7/model.onnx": b"scrap"}, 15, "The model 'b' version 7 could not be"),
    ],
)
def test_a_repository_with_nothing_to_serve_ends_the_process(
    start: Callable[..., Any], tmp_path: Path, files: dict[str, bytes], code: int, words: str
) -> None:
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(content)
    server = start("", HALDANE_MODEL_REPOSITORY=str(tmp_path))
    assert server.ended() == code
    assert words in server.log[-1]
