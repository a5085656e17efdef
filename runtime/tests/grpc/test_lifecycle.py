"""The gRPC port through a server's life: opened, drained without a lost call, closed; models loaded and unloaded by it."""

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as oip
from tritonclient.utils import InferenceServerException

SECONDS = 20.0
SERVICE = "/inference.GRPCInferenceService"
PortOf = Callable[[Any], int]


def rounds(count: int) -> triton.InferInput:
    made = triton.InferInput("rounds", [1], "INT64")
    made.set_data_from_numpy(np.array([count], np.int64))
    return made


def test_the_port_may_be_off(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.double()}", HALDANE_GRPC_PORT="0").ready()
    assert not [line for line in server.log if "gRPC" in line]
    server.signal(signal.SIGTERM)
    assert server.ended() == 0


def test_a_port_that_is_taken(start: Callable[..., Any], models: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        server = start(
            f"file://{models.double()}", HALDANE_GRPC_PORT=port, HALDANE_TERMINATION_LOG=str(tmp_path / "log")
        )
        assert server.ended() == 10
    assert f"HALDANE_GRPC_PORT {port} cannot be opened" in (tmp_path / "log").read_text()


def test_drain_serves_who_comes_back_and_finishes_what_runs(
    start: Callable[..., Any], models: Any, port_of: PortOf
) -> None:
    server = start(
        f"file://{models.work()}", HALDANE_MODEL_NAME="work", HALDANE_DRAIN_SECONDS="1.5", HALDANE_INTRA_OP_THREADS="1"
    ).ready()
    address = f"127.0.0.1:{port_of(server)}"
    with grpc.insecure_channel(address) as channel, triton.InferenceServerClient(address) as client:
        states: list[int] = []
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        watching = threading.Thread(target=lambda: states.extend(answer.status for answer in _until_end(watch)))
        watching.start()
        answers: list[Any] = []
        long = rounds(server.rounds_for(1.0, "work"))
        slow = threading.Thread(target=lambda: answers.append(client.infer("work", [long])))
        slow.start()
        deadline = time.monotonic() + SECONDS
        while not states and time.monotonic() < deadline:
            time.sleep(0.01)
        server.signal(signal.SIGTERM)
        # A client that has been sent away comes back for as long as the drain lasts, and is served.
        server._until("draining")
        with triton.InferenceServerClient(address) as late:
            assert not late.is_server_ready()
            assert late.infer("work", [rounds(1)]).as_numpy("sum") == 96
        slow.join(SECONDS)
        assert answers[0].as_numpy("sum") == 96
        assert server.ended() == 0
        watching.join(SECONDS)
    assert not [line for line in server.log if "cut off" in line]
    serving = health_pb2.HealthCheckResponse
    assert states[0] == serving.SERVING
    assert states[1:] in ([], [serving.NOT_SERVING])


def _until_end(watch: Any) -> Any:
    try:
        yield from watch
    except grpc.RpcError:
        return


def test_no_call_fails_when_the_server_stops_under_load(
    start: Callable[..., Any], models: Any, port_of: PortOf
) -> None:
    """Whatever the server has begun to answer it answers; afterwards a new connection is refused, which clients retry."""
    server = start(f"file://{models.double()}", HALDANE_MODEL_NAME="double").ready()
    x = triton.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(np.ones((1, 3), np.float32))
    failures: list[str] = []
    served = 0
    stopped = threading.Event()

    def call() -> None:
        nonlocal served
        with triton.InferenceServerClient(f"127.0.0.1:{port_of(server)}") as client:
            while True:
                try:
                    client.infer("double", [x])
                except InferenceServerException as error:
                    if not stopped.is_set() or "onnect" not in error.message():
                        failures.append(str(error))
                    return
                served += 1

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    while served < 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    stopped.set()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    for thread in threads:
        thread.join(SECONDS)
    assert failures == []
    assert not [line for line in server.log if "cut off" in line]
    assert served >= 200


def test_load_and_unload(start: Callable[..., Any], zoo: Path, tmp_path: Path, port_of: PortOf) -> None:
    root = tmp_path / "models"
    shutil.copytree(zoo / "double", root / "double")
    server = start("", HALDANE_MODEL_REPOSITORY=str(root), HALDANE_MODEL_CONTROL="explicit").ready()
    address = f"127.0.0.1:{port_of(server)}"
    with triton.InferenceServerClient(address) as client, grpc.insecure_channel(address) as channel:
        shutil.copytree(zoo / "same-fp32", root / "same-fp32")
        client.load_model("same-fp32")
        assert client.is_model_ready("same-fp32")
        client.unload_model("same-fp32")
        index = {model.name: model.state for model in client.get_model_repository_index().models}
        assert index == {"double": "READY", "same-fp32": "UNAVAILABLE"}
        # KServe's clients put the name in field 1, and read it back with a flag.
        request = oip.RepositoryModelLoadRequest(repository_name="same-fp32").SerializeToString()
        loaded = channel.unary_unary(f"{SERVICE}/RepositoryModelLoad")(request, timeout=SECONDS)
        assert loaded == b"\x0a\x09same-fp32\x10\x01"
        assert client.is_model_ready("same-fp32")
        with pytest.raises(InferenceServerException, match="nothing") as caught:
            client.load_model("nothing")
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        with pytest.raises(InferenceServerException, match="parameter 'config' is not served"):
            client.load_model("double", config="{}")


def test_the_request_log_tells_of_calls(
    start: Callable[..., Any], models: Any, port_of: PortOf, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start(f"file://{models.double()}", HALDANE_MODEL_NAME="double", HALDANE_REQUEST_LOG="1").ready()
    x = triton.InferInput("x", [2, 3], "FP32")
    x.set_data_from_numpy(np.ones((2, 3), np.float32))
    with triton.InferenceServerClient(f"127.0.0.1:{port_of(server)}") as client:
        assert client.infer("double", [x], request_id="mine").get_response().id == "mine"
        made = client.infer("double", [x]).get_response().id
        with pytest.raises(InferenceServerException):
            client.infer("double", [])
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [(line["id"], line["code"], line["outcome"], line["rows"]) for line in lines[:2]] == [
        ("mine", 200, "ok", 2),
        (made, 200, "ok", 2),
    ]
    assert lines[0]["input"] == lines[1]["input"]
    assert (lines[2]["code"], "'inputs' is empty" in lines[2]["outcome"]) == (400, True)
