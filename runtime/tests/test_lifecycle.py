"""Start, failed loads, overload and drain of the real process."""

import functools
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.lifecycle import run
from haldane_runtime.settings import from_environment

WAIT = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@contextmanager
def ending(stop: threading.Event) -> Iterator[None]:
    """Whatever fails inside, the threads that send until then end."""
    try:
        yield
    finally:
        stop.set()


def work(server: Any, rounds: int, **headers: str) -> httpx.Response:
    answer: httpx.Response = server.client.post("/v1/predict", json={"instances": [rounds]}, headers=headers)
    return answer


@pytest.mark.parametrize(
    ("environment", "code", "reason", "message"),
    [
        ({"HALDANE_QUEUE": "many"}, 10, "InvalidConfiguration", "HALDANE_QUEUE must be a whole number"),
        ({"HALDANE_MODEL_URI": "file:///absent/model.onnx"}, 11, "ModelNotFound", "does not exist"),
        ({"HALDANE_DEVICE": "gpu"}, 16, "DeviceUnavailable", "HALDANE_DEVICE asks for a GPU"),
    ],
)
def test_a_failed_load_says_why_and_ends_with_its_own_code(
    start: Callable[..., Any],
    models: Any,
    tmp_path: Path,
    environment: dict[str, str],
    code: int,
    reason: str,
    message: str,
) -> None:
    log = tmp_path / "termination-log"
    given = {"HALDANE_MODEL_URI": f"file://{models.double()}", "HALDANE_TERMINATION_LOG": str(log)} | environment
    server = start(given.pop("HALDANE_MODEL_URI"), **given)
    assert server.ended() == code
    told = json.loads(log.read_text())
    assert told["reason"] == reason
    assert message in told["message"]
    assert json.loads(server.log[-1]) == told


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {"HALDANE_MODEL_URI": "file:///m.onnx", "HALDANE_HOST": "127.0.0.1", "HALDANE_PORT": port}
        with pytest.raises(LoadError, match=f"HALDANE_PORT {port} cannot be opened: Address already in use") as caught:
            run(from_environment(environment), time.monotonic())
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


@pytest.mark.parametrize("host", ["300.1.1.1", "192.0.2.1"])
def test_an_address_that_is_not_this_machines_is_named(host: str) -> None:
    environment = {"HALDANE_MODEL_URI": "file:///m.onnx", "HALDANE_HOST": host, "HALDANE_PORT": "0"}
    with pytest.raises(LoadError, match=f"HALDANE_HOST {host} is not an address of this machine: ") as caught:
        run(from_environment(environment), time.monotonic())
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_probes_answer_while_the_model_is_on_its_way(
    start: Callable[..., Any], web: Any, models: Any, tmp_path: Path
) -> None:
    web.files["/m.onnx"] = models.double().read_bytes()
    web.pause_after = 10
    environment = {"HALDANE_CACHE_DIR": str(tmp_path / "cache"), **web.environment()}
    server = start(f"https://{web.host}/m.onnx", **environment).listening()
    assert web.paused.wait(WAIT)
    assert server.client.get("/startup").json() == {"started": True, "state": "loading"}
    assert server.client.get("/health").status_code == 200
    for path in ("/ready", "/v2/health/ready"):
        assert server.client.get(path).status_code == 503
        assert "loading" in server.client.get(path).json()["error"]
    early = server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]})
    assert early.status_code == 503
    assert early.headers["retry-after"] == "1"
    web.resume.set()
    server.ready()
    assert server.client.get("/ready").status_code == 200


def test_a_stop_while_loading_ends_at_once(start: Callable[..., Any], web: Any, models: Any, tmp_path: Path) -> None:
    web.files["/m.onnx"] = models.double().read_bytes()
    web.pause_after = 10
    environment = {"HALDANE_CACHE_DIR": str(tmp_path / "cache"), **web.environment()}
    server = start(f"https://{web.host}/m.onnx", **environment).listening()
    assert web.paused.wait(WAIT)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0


def test_nothing_is_reported_to_third_parties(start: Callable[..., Any], models: Any, tmp_path: Path) -> None:
    server = start(f"file://{models.double()}", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    server.ready()
    assert not list(tmp_path.iterdir())


def test_overload_and_deadlines(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.work()}", HALDANE_QUEUE="2", HALDANE_REQUEST_TIMEOUT="15").ready()
    rounds = server.rounds_for(1.0)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(work, server, rounds)
        late = work(server, rounds, **{"x-request-timeout": "0.1"})
        assert late.status_code == 408
        assert server.metric("haldane_queue_requests") == 0
        waiting = [pool.submit(work, server, 1) for _ in range(2)]
        until(lambda: server.metric("haldane_queue_requests") == 2)
        shed = work(server, 1)
        assert shed.status_code == 503
        assert shed.headers["retry-after"] == "1"
        assert "the queue is full" in shed.json()["error"]
        assert first.result().status_code == 200
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert server.metric("haldane_requests_total", code="503") == 1
    assert server.metric("haldane_requests_total", code="504") == 0


def test_sigterm_loses_no_request_in_flight(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.work()}", HALDANE_REQUEST_TIMEOUT="15").ready()
    rounds = server.rounds_for(1.0)
    with ThreadPoolExecutor(12) as pool:
        # The first keeps the engine busy while the others come in.
        answers: list[Future[httpx.Response]] = [pool.submit(work, server, rounds)]
        answers += [pool.submit(work, server, rounds // 10) for _ in range(11)]
        until(lambda: server.metric("haldane_queue_requests") >= 8)
        server.signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in answers] == [200] * 12
    assert server.ended() == 0


def test_the_drain_keeps_serving_and_closes_kept_connections(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.double()}", HALDANE_DRAIN_SECONDS="4").ready()
    stop = threading.Event()
    seen: list[tuple[int, str]] = []

    def send() -> None:
        with httpx.Client(base_url=server.url, timeout=WAIT) as client:
            while not stop.is_set():
                answer = client.post("/v1/predict", json={"instances": [[1, 2, 3]]})
                seen.append((answer.status_code, answer.headers.get("connection", "")))

    with ThreadPoolExecutor(4) as pool, ending(stop):
        senders = [pool.submit(send) for _ in range(4)]
        until(lambda: len(seen) > 50)
        server.signal(signal.SIGTERM)
        until(lambda: server.client.get("/ready").status_code == 503)
        asked = len(seen)
        until(lambda: len(seen) > asked + 10)
        assert server.client.get("/health").status_code == 200
        stop.set()
        for sender in senders:
            sender.result()
    assert {status for status, _ in seen} == {200}
    assert seen[0][1] == ""
    assert seen[-1][1] == "close"
    assert server.ended() == 0


def test_a_kept_connection_that_is_idle_at_sigterm_is_told_before_it_is_closed(
    start: Callable[..., Any], models: Any
) -> None:
    server = start(f"file://{models.double()}").ready()
    with httpx.Client(base_url=server.url, timeout=WAIT) as client:
        ask = functools.partial(client.post, "/v1/predict", json={"instances": [[1, 2, 3]]})
        assert "connection" not in ask().headers
        server.signal(signal.SIGTERM)
        until(lambda: any("draining" in line for line in server.log))
        # Long enough for a server that closes its idle connections at once to have done so.
        time.sleep(0.3)
        answer = ask()
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert server.ended() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(start: Callable[..., Any], models: Any, number: int, code: int) -> None:
    server = start(f"file://{models.double()}", HALDANE_DRAIN_SECONDS="60").ready()
    server.signal(number)
    until(lambda: server.client.get("/ready").status_code == 503)
    server.signal(number)
    assert server.ended() == code


def test_the_start_says_what_is_served_and_what_to_try(start: Callable[..., Any], models: Any) -> None:
    server = start(f"file://{models.double()}", HALDANE_MODEL_NAME="twice", HALDANE_MODEL_VERSION="7").ready()
    until(lambda: any("/docs" in line for line in server.log))
    (serving,) = [line for line in server.log if "serving 'twice' version 7 on cpu" in line]
    assert "batch" in serving
    (tried,) = [line for line in server.log if "try: curl" in line]
    command = tried.split("try: curl ")[1]
    assert command == f"{server.url}/v1/models/twice:predict -d '{{\"instances\": [[0, 0, 0]]}}'"
