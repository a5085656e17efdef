"""What the operator and the runtime must agree on, though neither imports the other."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import analysis, diagnosis, pod_template, queries
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
    assert read.port == pod_template.PORT
    assert str(read.cache_dir) == pod_template.CACHE_DIR


@pytest.mark.parametrize(
    ("field", "extremes"),
    [
        ("queue", [1, 1_000_000]),
        ("requestTimeout", ["1ms", "1h", "2h", "8760h"]),
        ("requestBytes", ["1", "64Gi", "999999G"]),
    ],
)
def test_what_the_api_accepts_the_runtime_accepts(field: str, extremes: list[Any]) -> None:
    for value in extremes:
        spec = {**SPEC, "runtime": {"limits": {field: value}}}
        try:
            model_deployment(spec)
        except ValidationError:
            continue
        settings(spec)


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


def test_every_query_finds_its_series_and_labels() -> None:
    text = exposition()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    earlier = (now - timedelta(minutes=10)).isoformat()
    status = {
        "stable": {"revision": "0123abcdef", "version": "0"},
        "candidate": {"revision": "abcdef0123", "version": "1"},
        "rollout": {"phase": "Progressing", "step": 0, "weight": 5, "weightChangedAt": earlier},
    }
    asked = analysis.queries(model_deployment(SPEC, status), now)
    assert set(asked) == {"recent", "requests", "durations"}
    for promql in asked.values():
        name, selector = re.search(r"increase\((\w+)\{(.*)\}\[", promql).groups()  # type: ignore[union-attr]
        series = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        assert series, f"the runtime has no {name}"
        for label, _, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selector):
            assert any(re.search(rf'{label}="({value})"', line) for line in series), f"{name} has no {label} {value}"
        grouped = re.search(r"by \((.*?)\)", promql)[1].split(", ")  # type: ignore[index]
        assert all(f'{label}="' in series[0] for label in grouped)


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
