"""The real server as a process, spoken to over HTTP."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


@pytest.fixture
def double(served: Callable[..., Any], models: Any) -> Any:
    return served(
        f"file://{models.double()}",
        HALDANE_MODEL_NAME="double",
        HALDANE_MODEL_VERSION="1.0.0",
        HALDANE_MODEL_NAMESPACE="tests",
        HALDANE_REVISION="abc123",
        HALDANE_REQUEST_BYTES="100000",
    )


def test_probes_answer(double: Any) -> None:
    for path, key in (
        ("/health", "live"),
        ("/ready", "ready"),
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
    ):
        answer = double.client.get(path)
        assert answer.status_code == 200
        assert answer.json()[key] is True
    assert double.client.get("/startup").json() == {"started": True, "state": "serving"}


def test_metadata(double: Any) -> None:
    assert double.client.get("/v2").json()["name"] == "haldane"
    expected = {
        "name": "double",
        "versions": ["1.0.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }
    for base in ("/v2/models/double", "/v2/models/double/versions/1.0.0"):
        assert double.client.get(base).json() == expected
        assert double.client.get(f"{base}/ready").json() == {"name": "double", "ready": True}


def test_the_server_tells_what_it_serves_of_the_protocol(double: Any) -> None:
    extensions = double.client.get("/v2").json()["extensions"]
    assert extensions == [
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
    ]
    assert double.client.post("/v2/repository/index").status_code == 200


def test_the_configuration_is_the_one_that_tritons_clients_read(double: Any) -> None:
    for base in ("/v2/models/double", "/v2/models/double/versions/1.0.0"):
        configuration = double.client.get(f"{base}/config").json()
        assert configuration["name"] == "double"
        assert configuration["platform"] == "onnxruntime_onnx"
        batched = configuration["max_batch_size"] > 0
        x = {"name": "x", "data_type": "TYPE_FP32", "dims": [3] if batched else [-1, 3]}
        assert configuration["input"] == [x]
        assert configuration["output"] == [x | {"name": "y"}]
        assert ("dynamic_batching" in configuration) == batched


def test_statistics_count_what_was_inferred(double: Any) -> None:
    def counts() -> dict[str, Any]:
        (stats,) = double.client.get("/v2/models/double/stats").json()["model_stats"]
        assert stats["name"] == "double"
        assert stats["version"] == "1.0.0"
        found: dict[str, Any] = stats
        return found

    before = counts()
    body = {"inputs": [TENSOR | {"shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
    assert double.client.post("/v2/models/double/infer", json=body).status_code == 200
    assert double.client.post("/v2/models/double/infer", json={}).status_code == 400
    after = counts()
    assert after["execution_count"] == before["execution_count"] + 1
    for name, more in (("success", 1), ("fail", 1), ("compute_infer", 1), ("queue", 1)):
        was, now = before["inference_stats"][name], after["inference_stats"][name]
        assert now["count"] == was["count"] + more
        assert (now["ns"] > was["ns"]) == bool(more)
    everything = double.client.get("/v2/models/stats").json()["model_stats"]
    assert [stats["name"] for stats in everything] == ["double"]


def test_what_kserves_v1_clients_ask(double: Any) -> None:
    assert double.client.get("/").json()["status"] == "alive"
    for path in ("/v1/models", "/v2/models"):
        assert double.client.get(path).json() == {"models": ["double"]}
    assert double.client.get("/v1/models/double").json() == {"name": "double", "ready": True}
    assert double.client.get("/v1/models/other").status_code == 404


def test_infer(double: Any) -> None:
    for path in ("/v2/models/double/infer", "/v2/models/double/versions/1.0.0/infer"):
        # Some clients of the protocol send no Content-Type, which must not matter.
        answer = double.client.post(path, content=json.dumps({"id": "i-1", "inputs": [TENSOR]})).json()
        assert answer.pop("parameters")["time_ms"] > 0
        assert answer == {
            "model_name": "double",
            "model_version": "1.0.0",
            "id": "i-1",
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}],
        }


def test_predict(double: Any) -> None:
    for path in ("/v1/predict", "/v1/models/double:predict"):
        answer = double.client.post(path, json={"instances": [[1, 2, 3]]}, headers={"x-request-id": "r-1"}).json()
        assert answer.pop("time_ms") > 0
        assert answer == {"predictions": [[2, 4, 6]], "model_name": "double", "model_version": "1.0.0", "id": "r-1"}
    ids = {double.client.post("/v1/predict", json={"instances": [[1, 2, 3]]}).json()["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "message"),
    [
        ("POST", "/v2/models/double/infer", {"content": b"{"}, 400, "not valid JSON"),
        ("POST", "/v2/models/double/infer", {"json": {"inputs": []}}, 400, "the model takes 'x'"),
        ("POST", "/v1/predict", {"content": b'{"instances": [[1, NaN, 3]]}'}, 400, "input 'x' expects FP32 values"),
        ("POST", "/v1/predict", {}, 400, "the request body is empty"),
        ("POST", "/v2/models/other/infer", {"json": {}}, 404, "unknown model 'other'"),
        ("POST", "/v1/models/other:predict", {"json": {}}, 404, "unknown model 'other'"),
        ("POST", "/v2/models/double/versions/2/infer", {"json": {}}, 404, "has no version '2'"),
        ("GET", "/v2/models/other", {}, 404, "unknown model 'other'"),
        ("GET", "/v2/models/double/versions/2/ready", {}, 404, "has no version '2'"),
        ("GET", "/nowhere", {}, 404, "there is no /nowhere here"),
        ("GET", "/v1/predict", {}, 405, "GET is not allowed here"),
        (
            "POST",
            "/v1/predict",
            {"content": b"x", "headers": {"content-encoding": "br"}},
            415,
            "'br' is not served here; send the body as it is, or as gzip or deflate",
        ),
        ("POST", "/v1/predict", {"content": b"x", "headers": {"x-request-timeout": "soon"}}, 400, "number of seconds"),
        (
            "POST",
            "/v2/models/double/infer",
            {"content": b"x", "headers": {"Inference-Header-Content-Length": "-1"}},
            400,
            "must be a whole number of bytes from 0 up, got '-1'",
        ),
        (
            "POST",
            "/v2/models/double/infer",
            {"content": b"x", "headers": {"Inference-Header-Content-Length": "2"}},
            400,
            "says 2 bytes, but the body has 1",
        ),
        (
            "POST",
            "/v1/predict",
            {"content": b"x", "headers": {"Inference-Header-Content-Length": "1"}},
            400,
            "rows are sent as JSON",
        ),
    ],
)
def test_every_error_is_one_sentence_under_error(
    double: Any, method: str, path: str, arguments: dict[str, Any], status: int, message: str
) -> None:
    answer = double.client.request(method, path, **arguments)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_an_unknown_encoding_is_told_which_are_known(double: Any) -> None:
    answer = double.client.post("/v2/models/double/infer", content=b"x", headers={"content-encoding": "br"})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_declared_length_over_the_limit_is_refused_before_the_body(double: Any) -> None:
    host, port = httpx.URL(double.url).host, httpx.URL(double.url).port
    with socket.create_connection((host, port or 0), timeout=10) as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_over_the_limit_is_refused(double: Any) -> None:
    answer = double.client.post("/v1/predict", content=(b"x" * 30_000 for _ in range(5)))
    assert answer.status_code == 413
    assert answer.json()["error"] == "the request body may have at most 100000 bytes, got more"


def test_a_body_that_never_comes_is_given_up(double: Any) -> None:
    host, port = httpx.URL(double.url).host, httpx.URL(double.url).port
    with socket.create_connection((host, port or 0), timeout=10) as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nx-request-timeout: 0.1\r\nContent-Length: 10\r\n\r\n{")
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_metrics_are_those_of_the_contract(double: Any) -> None:
    before = double.metric("haldane_requests_total", code="400")
    seconds = double.metric("haldane_request_duration_seconds_count")
    double.client.post("/v1/predict", json={"instances": []})
    assert double.metric("haldane_requests_total", code="400") == before + 1
    assert double.metric("haldane_request_duration_seconds_count") == seconds + 1
    labels = {"model": "double", "model_namespace": "tests", "revision": "abc123"}
    for code in ("200", "400", "500", "503", "504"):
        assert double.metric("haldane_requests_total", code=code, **labels) >= 0
    for name in ("haldane_inference_seconds_count", "haldane_queue_requests", "haldane_nonfinite_outputs_total"):
        assert double.metric(name, **labels) >= 0
    assert double.metric("haldane_model_info", version="1.0.0", device="cpu", **labels) == 1
    bounds = [
        line.split('le="')[1].split('"')[0]
        for line in double.client.get("/metrics").text.splitlines()
        if line.startswith("haldane_request_duration_seconds_bucket")
    ]
    expected = (
        "0.001 0.0025 0.005 0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.25 0.3 0.4 0.5 0.75 1.0 1.5 2.5 5.0 10.0 30.0 +Inf"
    )
    assert bounds == expected.split()


def test_probes_and_metadata_are_no_inference_requests(double: Any) -> None:
    count = double.metric("haldane_request_duration_seconds_count")
    for path in ("/ready", "/v2/models/double", "/nowhere"):
        double.client.get(path)
    assert double.metric("haldane_request_duration_seconds_count") == count


def test_the_openapi_page_describes_the_inference_routes(double: Any) -> None:
    paths = double.client.get("/openapi.json").json()["paths"]
    schema = paths["/v1/models/{model}:predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["instances"]


def test_rows_by_name_strings_and_nan(served: Callable[..., Any], models: Any) -> None:
    server = served(f"file://{models.person()}")
    answer = server.client.post(
        "/v1/predict", json={"instances": [{"age": 1, "name": "ann"}, {"age": -1, "name": "bo"}]}
    )
    # JSON has no NaN: null, and a metric that a rollout can check.
    assert answer.json()["predictions"] == [{"log": [0], "echo": ["ann"]}, {"log": [None], "echo": ["bo"]}]
    assert server.metric("haldane_nonfinite_outputs_total") == 1
    wanted = {
        "inputs": [
            {"name": "age", "shape": [1, 1], "datatype": "FP32", "data": [1]},
            {"name": "name", "shape": [1, 1], "datatype": "BYTES", "data": ["ann"]},
        ],
        "outputs": [{"name": "echo"}],
    }
    answer = server.client.post("/v2/models/model/infer", json=wanted)
    assert answer.json()["outputs"] == [{"name": "echo", "datatype": "BYTES", "shape": [1, 1], "data": ["ann"]}]


def test_a_failing_model_answers_500_and_the_next_request_works(served: Callable[..., Any], models: Any) -> None:
    server = served(f"file://{models.lookup()}")
    answer = server.client.post("/v1/predict", json={"instances": [7]})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("the model failed: ")
    assert server.client.post("/v1/predict", json={"instances": [0]}).json()["predictions"] == [1]
    assert server.metric("haldane_requests_total", code="500") == 1
