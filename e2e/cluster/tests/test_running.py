"""The cluster as it runs: a second `up` finds nothing to do, and each add-on does its work.

Uses the cluster that HALDANE_CLUSTER names (default: haldane), which must be up.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from e2e.cluster import kind, paths, record
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell

pytestmark = pytest.mark.e2e

NAME = os.environ.get("HALDANE_CLUSTER", "haldane")


@pytest.fixture(scope="module")
def made() -> Record:
    found = record.read(NAME)
    if not found or not kind.runs(NAME):
        pytest.fail(f"Cluster {NAME} does not run; start it with: make cluster")
    return found


@pytest.fixture
def applied(made: Record) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Applies objects that are gone again after the test."""
    shell, documents = Shell("test-running"), list[str]()

    def apply(item: dict[str, Any]) -> None:
        documents.append(json.dumps(item))
        shell.run(kind.kubectl(made, "apply", "-f", "-"), seconds=30, stdin=documents[-1])

    yield apply
    for document in documents:
        shell.run(kind.kubectl(made, "delete", "--ignore-not-found", "-f", "-"), seconds=30, stdin=document)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "e2e.cluster", *words, "--name", NAME],
        cwd=paths.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fetched(url: str, host: str) -> int:
    request = urllib.request.Request(url, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_second_up_does_nothing(made: Record) -> None:
    start = time.monotonic()
    done = command("up")
    assert done.returncode == 0, done.stderr
    assert f"Cluster {NAME} is up and ready already" in done.stderr
    assert json.loads(done.stdout)["ingress_url"] == made.url("ingress")
    assert time.monotonic() - start < 30
    assert command("status").returncode == 0


def test_an_ingress_of_class_nginx_routes(made: Record, applied: Callable[[dict[str, Any]], None]) -> None:
    name = f"probe-{uuid.uuid4().hex[:8]}"
    service = {"name": "prometheus", "port": {"name": "http"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    applied(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "monitoring"},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": f"{name}.test", "http": {"paths": [path]}}]},
        }
    )
    url = made.url("ingress") + "/-/ready"
    Shell("test-ingress").wait("the ingress", lambda: fetched(url, f"{name}.test") == 200, seconds=30)


def test_a_gateway_route_routes(made: Record, applied: Callable[[dict[str, Any]], None]) -> None:
    name = f"probe-{uuid.uuid4().hex[:8]}"
    applied(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "monitoring"},
            "spec": {
                "parentRefs": [{"name": "web", "namespace": "traefik"}],
                "hostnames": [f"{name}.test"],
                "rules": [{"backendRefs": [{"name": "prometheus", "port": 9090}]}],
            },
        }
    )
    url = made.url("ingress") + "/-/ready"
    Shell("test-gateway").wait("the route", lambda: fetched(url, f"{name}.test") == 200, seconds=30)


def test_the_s3_server_keeps_what_it_is_given(made: Record) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=made.url("s3"),
        region_name="us-east-1",
        aws_access_key_id="demo-access",
        aws_secret_access_key="demo-secret-key",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )
    bucket = f"probe-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    try:
        client.put_object(Bucket=bucket, Key="a/model.onnx", Body=b"x" * 1000)
        assert client.get_object(Bucket=bucket, Key="a/model.onnx")["Body"].read() == b"x" * 1000
    finally:
        client.delete_object(Bucket=bucket, Key="a/model.onnx")
        client.delete_bucket(Bucket=bucket)


def test_prometheus_has_scraped_annotated_pods(made: Record) -> None:
    with urllib.request.urlopen(made.url("prometheus") + "/api/v1/query?query=up", timeout=5) as response:
        samples = json.load(response)["data"]["result"]
    assert {"traefik"} <= {sample["metric"]["namespace"] for sample in samples}


def test_the_metrics_api_knows_the_node(made: Record) -> None:
    shell = Shell("test-metrics")
    text = shell.output(kind.kubectl(made, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"), seconds=30)
    assert [item["metadata"]["name"] for item in json.loads(text)["items"]] == [made.node]
