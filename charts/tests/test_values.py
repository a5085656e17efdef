"""Bad values are refused with a sentence, and every value is described."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from charts import readme

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

REFUSED: list[tuple[Manifest, str]] = [
    ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ({"image": {"tga": "dev"}}, "at '/image': additional properties 'tga' not allowed"),
    ({"image": {"repository": ""}}, "at '/image/repository'"),
    ({"image": {"tag": 1.10}}, "at '/image/tag': got number, want string"),
    ({"image": {"pullPolicy": "Sometimes"}}, "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ({"image": {"digest": "9f86d0"}}, 'image.digest is "9f86d0": write sha256: and 64 hexadecimal digits'),
    ({"logLevel": "loud"}, "value must be one of 'debug', 'info', 'warning', 'error'"),
    ({"gates": {"enabled": "yes"}}, "at '/gates/enabled': got string, want boolean"),
    ({"workers": 0}, "at '/workers': minimum: got 0, want 1"),
    ({"workers": "four"}, "at '/workers': got string, want integer"),
    ({"prometheus": {"url": "prometheus:9090"}}, 'prometheus.url is "prometheus:9090": write the base URL'),
    ({"prometheus": {"url": "http://prometheus:9090/?a=b"}}, "write the base URL of Prometheus"),
    ({"prometheus": {"token": "a"}}, "at '/prometheus': additional properties 'token' not allowed"),
    (
        {"prometheus": {"bearerToken": {"secretName": "a"}, "basicAuth": {"secretName": "b"}}},
        "prometheus.bearerToken and prometheus.basicAuth are both set: leave one of them out",
    ),
    (
        {"prometheus": {"bearerToken": {"secretName": "a", "file": "/b"}}},
        "prometheus.bearerToken has a secretName and a file: leave one of them out",
    ),
    (
        {"prometheus": {"bearerToken": {"file": "token"}}},
        'prometheus.bearerToken.file is "token": write the absolute path of a file',
    ),
    (
        {"prometheus": {"ca": {"secretName": "a", "configMapName": "b"}}},
        "prometheus.ca has a secretName and a configMapName: leave one of them out",
    ),
    (
        {"prometheus": {"headers": {"authorization": "Bearer secret"}}},
        'prometheus.headers sets "authorization": write the name of a header other than Authorization',
    ),
    ({"prometheus": {"headers": {"X Scope": "a"}}}, 'prometheus.headers sets "X Scope": write the name of a header'),
    ({"prometheus": {"headers": {"X-Scope": "a\nb: c"}}}, 'prometheus.headers sets "X-Scope": write the name'),
    (
        {"extraEnv": [{"name": "HALDANE_PROMETHEUS_TOKEN_FILE", "value": "/a"}]},
        "extraEnv sets HALDANE_PROMETHEUS_TOKEN_FILE, which belongs to the value prometheus.bearerToken: set that",
    ),
    ({"watchNamespaces": "payments"}, "at '/watchNamespaces': got string, want array"),
    ({"watchNamespaces": ["team-*"]}, 'watchNamespaces has "team-*", which is no namespace name'),
    ({"watchNamespaces": ["a", "b", "a"]}, "watchNamespaces names a namespace twice: write each one once"),
    ({"serviceAccount": {"create": False}}, "name the ServiceAccount that the operator should use"),
    ({"resources": {"request": {"cpu": "1"}}}, "at '/resources': additional properties 'request' not allowed"),
    ({"extraEnv": {"A": "b"}}, "at '/extraEnv': got object, want array"),
    ({"extraEnv": [{"value": "b"}]}, "at '/extraEnv/0': missing property 'name'"),
    ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value': got number, want string"),
    (
        {"extraEnv": [{"name": "HALDANE_LOG_LEVEL", "value": "debug"}]},
        "extraEnv sets HALDANE_LOG_LEVEL, which belongs to the value logLevel: set that instead",
    ),
    (
        {"extraEnv": [{"name": "HALDANE_HEALTH_PORT", "value": "1"}]},
        "extraEnv sets HALDANE_HEALTH_PORT, where the probes of the chart look at 8090: leave it out",
    ),
    (
        {"podLabels": {"app.kubernetes.io/name": "mine"}},
        "podLabels sets app.kubernetes.io/name, which the chart sets: choose another label",
    ),
    (
        {"podLabels": {"team": "fraud & risk"}},
        'podLabels sets team to "fraud & risk": write at most 63 letters, digits',
    ),
    ({"podLabels": {"team": "a" * 64}}, f'podLabels sets team to "{"a" * 64}": write at most 63 letters'),
    ({"podLabels": {"team": "-a"}}, "with a letter or a digit at both ends"),
    (
        {"podMonitor": {"labels": {"app.kubernetes.io/part-of": "mine"}}},
        "podMonitor.labels sets app.kubernetes.io/part-of, which the chart sets: choose another label",
    ),
    (
        {"podMonitor": {"labels": {"helm.sh/chart": "mine"}}},
        "podMonitor.labels sets helm.sh/chart, which the chart sets: choose another label",
    ),
    (
        {"podMonitor": {"labels": {"release": "kube prometheus"}}},
        'podMonitor.labels sets release to "kube prometheus": write at most 63 letters, digits',
    ),
    ({"podAnnotations": {"a": True}}, "at '/podAnnotations/a': got boolean, want string"),
    ({"crds": {"keep": "yes"}}, "at '/crds/keep': got string, want boolean"),
    ({"podMonitor": {"interval": "15 seconds"}}, 'podMonitor.interval is "15 seconds": write a number and its unit'),
    (
        {"networkPolicy": {"egressPorts": [70000]}},
        "at '/networkPolicy/egressPorts/0': maximum: got 70,000, want 65,535",
    ),
    ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
    ({"fullnameOverride": "m" * 53}, "at '/fullnameOverride': maxLength: got 53, want 52"),
    ({"fullnameOverride": "Models"}, 'fullnameOverride is "Models": write lower-case letters, digits and dashes'),
    ({"fullnameOverride": "models-"}, 'fullnameOverride is "models-": write lower-case letters, digits and dashes'),
    ({"nameOverride": "my_models"}, 'nameOverride is "my_models": write lower-case letters, digits and dashes'),
    ({"nameOverride": "my.models"}, "with a letter or a digit at both ends"),
    (
        {"serviceAccount": {"name": "Operator"}},
        'serviceAccount.name is "Operator": write lower-case letters, digits, dashes and dots',
    ),
    ({"serviceAccount": {"name": "a..b"}}, "with a letter or a digit at both ends of each part"),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED, ids=lambda part: part if isinstance(part, str) else None)
def test_refused(refusal: Callable[[Manifest], str], values: Manifest, sentence: str) -> None:
    assert sentence in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"global": {"imageRegistry": "x"}},
        {"prometheus": {"url": ""}},
        {"prometheus": {"url": "https://prometheus.example.com/path/"}},
        {"resources": {"requests": {"cpu": 1}}},
        {"resources": None},
        {"nameOverride": "models-2", "fullnameOverride": "m" * 52, "serviceAccount": {"name": "team.haldane"}},
        {"podLabels": {"team": "", "cost-center": "A_1.b"}},
        {"podLabels": {"team": "a" * 63}, "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        {"extraEnv": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
    ],
)
def test_accepted(render: Render, values: Manifest) -> None:
    assert render(values)


def schema_of(chart: Path) -> Manifest:
    schema: Manifest = json.loads((chart / "values.schema.json").read_text())
    return schema


def walk(schema: Manifest, path: str = "") -> Iterator[tuple[str, Manifest]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}".lstrip("."))
    if isinstance(schema.get("items"), dict):
        yield from walk(schema["items"], f"{path}[]")


def test_every_value_is_described_and_no_object_takes_unknown_fields(chart: Path) -> None:
    for path, schema in walk(schema_of(chart)):
        if path.endswith("[]") and "properties" not in schema:
            continue
        assert schema.get("description", "").endswith("."), path
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path


def test_the_schema_and_the_defaults_name_the_same_values(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())

    def agree(schema: Manifest, defaults: Manifest, path: str) -> None:
        named = schema["properties"].keys() - {"global"}
        assert named == defaults.keys(), path
        for name in named:
            if "properties" in schema["properties"][name]:
                agree(schema["properties"][name], defaults[name], f"{path}.{name}")

    agree(schema_of(chart), values, "values")


def test_lint_has_nothing_to_say(run_helm: Callable[..., CompletedProcess[str]], chart: Path) -> None:
    done = run_helm("lint", "--strict", str(chart))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_the_version_of_the_chart_is_the_version_of_the_program(chart: Path, repository: Path) -> None:
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert f'version = "{described["appVersion"]}"' in (repository / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "helm --namespace haldane-system test haldane --logs"),
        ({}, "for the Prometheus operator set podMonitor.enabled=true"),
        ({"watchNamespaces": ["payments"]}, "kubectl --namespace payments apply -f fraud.yaml"),
        ({"prometheus": {"url": ""}}, "NOTE: prometheus.url is empty."),
        ({"crds": {"install": False}}, "NOTE: crds.install is false."),
        ({"rbac": {"create": False}}, "NOTE: rbac.create is false."),
        ({"crds": {"keep": False}}, "deletes the CRD and with it EVERY ModelDeployment"),
    ],
)
def test_the_notes_say_what_to_do_next(
    run_helm: Callable[..., CompletedProcess[str]], chart: Path, values: Manifest, sentence: str
) -> None:
    done = run_helm(
        "install", "haldane", str(chart), "--namespace", "haldane-system", "--dry-run=client", values=values
    )
    assert done.returncode == 0, done.stderr
    assert sentence in done.stdout


def test_the_tables_of_the_readme_are_up_to_date() -> None:
    assert readme.main(["--check"]) == 0
