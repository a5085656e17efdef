"""What the operator and the runtime must agree on, though neither imports the other."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from haldane.api import crd
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import asking, diagnosis, environment, pod_template, queries
from haldane_runtime import lifecycle
from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.observe.metrics import FIRST_CODES, Metrics
from haldane_runtime.observe.termination import report_failure
from haldane_runtime.protocol.http import create_app
from haldane_runtime.settings import Settings, from_environment

SPEC: dict[str, Any] = {
    "model": {
        "uri": "s3://models/fraud/1/",
        "version": "1",
        "sha256": "0" * 64,
        "credentialsSecret": "s3-models",
        "s3": {"endpoint": "http://s3.storage.svc:8333", "region": "eu-central-1"},
    },
    "runtime": {
        "limits": {"queue": 7, "requestTimeout": "2500ms", "requestBytes": "3Mi"},
        "session": {"intraOpThreads": 2},
    },
    "rollout": {"checks": [{"name": "p99", "latency": {"max": "100ms"}}]},
}


def model_deployment(spec: dict[str, Any], status: dict[str, Any] | None = None) -> ModelDeployment:
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "payments", "uid": "u", "generation": 1},
            "spec": spec,
            "status": status or {},
        }
    )


def container(spec: dict[str, Any]) -> dict[str, Any]:
    template = pod_template.render(model_deployment(spec), "abcdef0123", "1", "haldane/runtime:dev")
    found: dict[str, Any] = next(c for c in template["spec"]["containers"] if c["name"] == pod_template.CONTAINER)
    return found


def settings(spec: dict[str, Any]) -> Settings:
    return from_environment({variable["name"]: variable["value"] for variable in container(spec)["env"]})


def test_the_runtime_reads_what_the_operator_sets() -> None:
    read = settings(SPEC)
    assert (read.model_uri, read.model_name, read.model_namespace) == ("s3://models/fraud/1/", "fraud", "payments")
    assert (read.revision, read.model_version, read.model_sha256) == ("abcdef0123", "1", "0" * 64)
    assert (read.s3_endpoint, read.s3_region) == ("http://s3.storage.svc:8333", "eu-central-1")
    assert (read.device, read.intra_op_threads, read.queue) == ("cpu", 2, 7)
    assert (read.request_timeout, read.request_bytes) == (2.5, 3 * 1024 * 1024)
    assert read.port == environment.PORT
    assert str(read.cache_dir) == environment.CACHE_DIR


def test_the_runtime_is_tuned_as_spec_says() -> None:
    golden = {"requests": [{"inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}], "tolerance": {"relative": 0.01}}
    tuned: dict[str, Any] = {
        "device": "gpu",
        "batching": {"maxBatchSize": 32, "maxDelay": "2ms"},
        "limits": {"queueBytes": "512Mi", "queueDelay": "250ms"},
        "session": {"providers": ["TensorRT", "CUDA"], "precision": "fp16", "precisionTolerance": "0.5%"},
        "grpc": {"enabled": False},
        "responseCache": {"url": "redis://cache:6379/0", "ttl": "90s"},
        "requestLog": {"sample": "2.5%"},
    }
    read = settings({"model": {**SPEC["model"], "golden": golden}, "runtime": tuned})
    assert (read.device, read.providers, read.precision, read.precision_tolerance) == (
        "gpu",
        ("TensorRT", "CUDA"),
        "fp16",
        0.005,
    )
    assert (read.max_batch_size, read.max_batch_delay, read.queue_bytes, read.queue_delay) == (32, 0.002, 2**29, 0.25)
    assert (read.response_cache, read.response_cache_ttl, read.request_log) == ("redis://cache:6379/0", 90, 0.025)
    assert read.grpc_port == 0
    assert json.loads(read.golden or "") == golden


@pytest.mark.parametrize("timeout", ["1ms", "10s", "44500ms", "1m", "1h"])
def test_a_pod_tells_kept_connections_of_its_end_and_has_the_time_for_it(timeout: str) -> None:
    spec = {"model": SPEC["model"], "runtime": {"limits": {"requestTimeout": timeout}}}
    read = settings(spec)
    assert read.drain_seconds >= 1
    stop = lifecycle.stop_seconds(read) + lifecycle.ENGINE_STOP_SECONDS
    template = pod_template.render(model_deployment(spec), "abcdef0123", "1", "haldane/runtime:dev")
    grace = template["spec"]["terminationGracePeriodSeconds"]
    assert grace >= pod_template.DRAIN_BEFORE_SIGTERM + read.drain_seconds + stop + 5


def test_the_runtime_serves_grpc_where_the_pod_says() -> None:
    (named,) = [port for port in container(SPEC)["ports"] if port["name"] == pod_template.GRPC_PORT_NAME]
    assert settings(SPEC).grpc_port == named["containerPort"]


def test_what_the_api_describes_as_the_runtimes_default_is_its_default() -> None:
    read, described = settings({"model": SPEC["model"]}), crd.render()
    for field, said in {
        "maxBatchSize": f"{read.max_batch_size} when left out.",
        "queueBytes": f"{read.queue_bytes >> 20}Mi when left out.",
        "precisionTolerance": f"{read.precision_tolerance:.0%} when left out.",
        "ttl": f"{read.response_cache_ttl / 60:.0f}m when left out.",
    }.items():
        description = re.search(rf"\n +{field}:\n +description: (.*?)\n +type:", described, re.DOTALL)
        assert description, field
        assert said in " ".join(description[1].split()), field
    assert (read.max_batch_delay, read.queue_delay, read.precision, read.request_log) == (0, 0, "fp32", 0)


@pytest.mark.parametrize(
    ("part", "field", "extremes"),
    [
        ("limits", "queue", [1, 1_000_000]),
        ("limits", "queueBytes", ["67108864", "999999M", "976562500Ki", "999Gi"]),
        ("limits", "queueDelay", ["1ms", "0.999ms", "1h", "61m"]),
        ("limits", "requestTimeout", ["1ms", "0.999ms", "1h", "2h", "8760h"]),
        ("limits", "requestBytes", ["1", "64Gi", "999999G"]),
        ("batching", "maxBatchSize", [1, 4096]),
        ("batching", "maxDelay", ["0s", "0.001ms", "10s", "10.001s"]),
        ("session", "intraOpThreads", [1, 256]),
        ("session", "precisionTolerance", ["0%", "0.0000000001%", "100%"]),
        ("requestLog", "sample", ["0%", "0.0000000001%", "100%"]),
    ],
)
def test_what_the_api_accepts_the_runtime_accepts(part: str, field: str, extremes: list[Any]) -> None:
    for value in extremes:
        spec = {**SPEC, "runtime": {part: {field: value}}}
        try:
            model_deployment(spec)
        except ValidationError:
            continue
        settings(spec)


@pytest.mark.parametrize("ttl", ["1s", "8760h"])
@pytest.mark.parametrize("url", ["redis://cache", "redis://cache:6379/", "rediss://10.0.0.1:6379/15"])
def test_every_cache_that_the_api_accepts_the_runtime_accepts(url: str, ttl: str) -> None:
    assert settings({**SPEC, "runtime": {"responseCache": {"url": url, "ttl": ttl}}}).response_cache == url


def test_every_reason_of_a_failed_load_has_its_advice(tmp_path: Path) -> None:
    assert set(diagnosis.LOAD_ADVICE) == {reason.value for reason in Reason}


def test_the_operator_reads_the_runtimes_last_words(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    report_failure(LoadError(Reason.CHECKSUM_MISMATCH, "The model's sha256 is 1, not 0."), log)
    pod = {
        "metadata": {"name": "fraud-abcdef0123-x", "namespace": "payments"},
        "spec": {"containers": [{"name": "runtime"}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "runtime",
                    "ready": False,
                    "restartCount": 1,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 14, "reason": "Error", "message": log.read_text()}},
                }
            ],
        },
    }
    problem = diagnosis.diagnose([pod])
    assert problem is not None
    assert problem.reason == "ChecksumMismatch"
    assert "The model's sha256 is 1, not 0" in problem.message
    assert json.loads(log.read_text())["reason"] == problem.reason


def exposition() -> str:
    metrics = Metrics("payments", "abcdef0123")
    metrics.model("fraud")
    return metrics.exposition().decode()


@pytest.mark.parametrize(
    ("seconds", "more"),
    [(600, {"requests", "nonfinite", "runs", "durations", "durations/recent"}), (20, {"scraped", "scraped/before"})],
)
def test_every_query_finds_its_series_and_labels(seconds: int, more: set[str]) -> None:
    text = exposition()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    earlier = (now - timedelta(seconds=seconds)).isoformat()
    status = {
        "stable": {"revision": "0123abcdef", "version": "0"},
        "candidate": {"revision": "abcdef0123", "version": "1"},
        "rollout": {"phase": "Progressing", "step": 0, "weight": 5, "weightChangedAt": earlier},
    }
    asked = asking.queries(model_deployment(SPEC, status), now)
    assert set(asked) == {"recent", *more}
    for promql in asked.values():
        name, selector = re.search(r"\) \((?:increase\()?(\w+)\{(.*)\}", promql).groups()  # type: ignore[union-attr]
        series = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        assert series, f"the runtime has no {name}"
        for label, _, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selector):
            assert any(re.search(rf'{label}="({value})"', line) for line in series), f"{name} has no {label} {value}"
        grouped = re.search(r"by \((.*?)\)", promql)[1].split(", ")  # type: ignore[index]
        assert all(f'{label}="' in series[0] for label in grouped)


def test_the_operator_knows_every_metric_and_bucket_of_the_runtime() -> None:
    text = exposition()
    found = {match[0] for match in re.finditer(r"^haldane_[a-z_]+", text, re.MULTILINE)}
    # These come with the first model, and with the first lookup.
    assert queries.METRICS - found == {"haldane_model_info", "haldane_response_cache_total"} - found
    assert found <= queries.METRICS
    bounds = re.findall(r'^haldane_request_duration_seconds_bucket{.*le="([0-9.]+)"', text, re.MULTILINE)
    assert [float(bound) for bound in bounds] == list(queries.BOUNDS)


def test_error_codes_are_there_before_the_first_error() -> None:
    assert {200, 500, 503, 504} <= set(FIRST_CODES)
    assert queries.REQUESTS in exposition()


def test_probes_look_at_routes_that_the_runtime_has() -> None:
    app = create_app(DataPlane(Metrics("payments", "abcdef0123"), expected="fraud"), 1, 1.0)
    paths = {getattr(route, "path", None) for route in app.routes}
    made = container(SPEC)
    probes = [made[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    assert set(probes) <= paths
    assert "/metrics" in paths
