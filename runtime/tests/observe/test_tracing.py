"""Traces as a real collector receives them: OTLP over HTTP."""

import gzip
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import run
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tritonclient.utils import InferenceServerException

from haldane_runtime.observe import tracing
from haldane_runtime.observe.tracing import Tracing, from_environment

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALL: dict[str, Any] = {
    "traceparent": None,
    "tracestate": None,
    "seconds": 0.01,
    "decode": 0.001,
    "queue": 0.002,
    "infer": 0.003,
    "encode": 0.0005,
    "code": 200,
    "attributes": {"haldane.model": "fraud", "haldane.rows": 2},
}


class Collector:
    def __init__(self) -> None:
        self.resources: list[dict[str, str]] = []
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self) -> dict[str, Span]:
        return {span.name: span for span in self.spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def made(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Tracing:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = from_environment(os.environ, "shop", "abc123")
    assert found is not None
    return found


def test_a_request_becomes_a_span_with_its_phases_within_the_callers_trace(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = made(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_RESOURCE_ATTRIBUTES="team=ml")
    traces.request("POST /v2/models/{model}/infer", **CALL | {"traceparent": PARENT, "tracestate": "a=b"})
    traces.close()
    spans = collector.named()
    request = spans.pop("POST /v2/models/{model}/infer")
    assert request.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert request.trace_state == "a=b"
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.end_time_unix_nano - request.start_time_unix_nano == 10_000_000
    assert {a.key: a.value.string_value or a.value.int_value for a in request.attributes} == {
        "haldane.model": "fraud",
        "haldane.rows": 2,
    }
    start, end = request.start_time_unix_nano, request.end_time_unix_nano
    expected = {
        "decode": (start, start + 1_000_000),
        "queue": (start + 1_000_000, start + 3_000_000),
        "infer": (start + 3_000_000, start + 6_000_000),
        "encode": (end - 500_000, end),
    }
    assert {name: (span.start_time_unix_nano, span.end_time_unix_nano) for name, span in spans.items()} == expected
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    (resource,) = collector.resources
    assert resource["service.name"] == "haldane-runtime"
    assert (resource["haldane.namespace"], resource["haldane.revision"], resource["team"]) == ("shop", "abc123", "ml")


def test_a_failed_request_is_an_error_without_the_phases_that_it_did_not_reach(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = made(monkeypatch, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces", OTEL_SERVICE_NAME="s")
    traces.request("r", **CALL | {"code": 503, "infer": 0.0, "encode": 0.0, "traceparent": "nonsense"})
    traces.close()
    spans = collector.named()
    assert set(spans) == {"r", "decode", "queue"}
    assert spans["r"].status.code == 2
    assert spans["r"].parent_span_id == b""
    assert collector.resources[0]["service.name"] == "s"


@pytest.mark.parametrize(
    ("parent", "sampler", "spans"),
    [
        (PARENT.removesuffix("01") + "00", "parentbased_always_on", 0),
        (PARENT, "parentbased_always_off", 5),
        (None, "parentbased_always_off", 0),
    ],
)
def test_the_callers_decision_and_the_sampler_hold(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, parent: str | None, sampler: str, spans: int
) -> None:
    traces = made(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER=sampler)
    traces.request("r", **CALL | {"traceparent": parent})
    traces.close()
    assert len(collector.spans) == spans


def test_a_collector_that_is_away_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.2)
    traces = made(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    started = time.monotonic()
    for _ in range(3000):
        traces.request("r", **CALL)
    traces.close()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_no_traces_without_a_collector_that_is_spoken_to(environment: dict[str, str]) -> None:
    assert from_environment(environment, "", "") is None


def test_without_a_collector_nothing_is_imported() -> None:
    code = (
        "import sys; from haldane_runtime.observe.tracing import from_environment; from_environment({}, '', '');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def told(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_the_servers_own_requests_over_http_and_grpc(
    collector: Collector, start: Callable[..., Any], models: Any
) -> None:
    server = start(
        f"file://{models.lookup()}",
        HALDANE_MODEL_NAME="lookup",
        HALDANE_MODEL_VERSION="7",
        HALDANE_MODEL_NAMESPACE="shop",
        HALDANE_REVISION="abc123",
        HALDANE_DRAIN_SECONDS="0",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    ).ready()
    context = {"traceparent": PARENT, "tracestate": "a=b"}
    codes = []
    for request_id, places in (("http", [0, 2]), ("http-fails", [99])):
        question = {"name": "i", "shape": [len(places)], "datatype": "INT64", "data": places}
        body = {"id": request_id, "inputs": [question]}
        codes.append(server.client.post("/v2/models/lookup/infer", json=body, headers=context).status_code)
    codes.append(server.client.post("/v1/models/lookup:predict", content=b"{").status_code)
    assert codes == [200, 500, 400]
    (line,) = [line for line in server.log if "gRPC on port" in line]
    with triton.InferenceServerClient(f"127.0.0.1:{line.rsplit(' ', 1)[1]}") as client:
        place = triton.InferInput("i", [2], "INT64")
        place.set_data_from_numpy(np.array([0, 2]))
        client.infer("lookup", [place], request_id="grpc", headers=context)
        place.set_data_from_numpy(np.array([0, 99]))
        with pytest.raises(InferenceServerException):
            client.infer("lookup", [place], request_id="grpc-fails", headers=context)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0

    requests = {str(told(span)["haldane.request_id"]): span for span in collector.spans if span.attributes}
    # The one that had no id got one.
    (unnamed,) = requests.keys() - {"http", "http-fails", "grpc", "grpc-fails"}
    malformed = requests.pop(unnamed)
    assert len(unnamed) == 16
    assert (malformed.name, told(malformed)["http.response.status_code"]) == ("POST /v1/models/{model}:predict", 400)
    assert malformed.status.code != Span().status.STATUS_CODE_ERROR
    assert set(requests) == {"http", "http-fails", "grpc", "grpc-fails"}
    for request_id, span in requests.items():
        over_http, fails = request_id.startswith("http"), request_id.endswith("fails")
        assert span.name == (
            "POST /v2/models/{model}/infer" if over_http else "inference.GRPCInferenceService/ModelInfer"
        )
        assert (span.trace_id + span.parent_span_id).hex() == PARENT[3:-3].replace("-", "")
        assert (span.trace_state, span.kind) == ("a=b", Span.SPAN_KIND_SERVER)
        assert told(span) == {
            "haldane.model": "lookup",
            "haldane.version": "7",
            "haldane.request_id": request_id,
            "haldane.rows": 1 if request_id == "http-fails" else 2,
            "http.response.status_code": 500 if fails else 200,
        }
        assert (span.status.code == span.status.STATUS_CODE_ERROR) is fails
        phases = [child for child in collector.spans if child.parent_span_id == span.span_id]
        assert {child.name for child in phases} >= ({"decode"} if fails else {"decode", "queue", "infer", "encode"})
        for child in phases:
            assert span.start_time_unix_nano <= child.start_time_unix_nano < child.end_time_unix_nano
            assert child.end_time_unix_nano <= span.end_time_unix_nano
    assert {resource["haldane.namespace"] + resource["haldane.revision"] for resource in collector.resources} == {
        "shopabc123"
    }
