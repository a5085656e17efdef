"""Settings: what is wrong is named, and so is what to write."""

from __future__ import annotations

import pytest

from haldane import settings
from haldane.settings import InvalidSettings

LEAST = {"HALDANE_RUNTIME_IMAGE": "haldane/runtime:1"}


def test_defaults() -> None:
    read = settings.load(LEAST)
    assert read.runtime_gpu_image == read.runtime_image == "haldane/runtime:1"
    assert (read.prometheus_url, read.watch_namespaces, read.workers) == ("", (), 8)
    assert (read.prometheus_token_file, read.prometheus_ca_file, read.prometheus_headers) == ("", "", {})
    assert (read.log_level, read.health_port, read.gates) == ("INFO", 8090, True)
    assert read.instance


def test_everything_set() -> None:
    read = settings.load(
        LEAST
        | {
            "HALDANE_RUNTIME_GPU_IMAGE": "haldane/runtime-gpu:1",
            "HALDANE_PROMETHEUS_URL": " https://prometheus.example.com/base/ ",
            "HALDANE_PROMETHEUS_USERNAME_FILE": "/etc/prometheus/username",
            "HALDANE_PROMETHEUS_PASSWORD_FILE": "/etc/prometheus/password",
            "HALDANE_PROMETHEUS_CA_FILE": "/etc/prometheus/ca.crt",
            "HALDANE_PROMETHEUS_HEADERS": '{"X-Scope-OrgID": "payments|search"}',
            "HALDANE_WATCH_NAMESPACES": "a, b,,a",
            "HALDANE_GATES": "off",
            "HALDANE_WORKERS": "2",
            "HALDANE_LOG_LEVEL": "debug",
            "HALDANE_HEALTH_PORT": "0",
            "HALDANE_INSTANCE": "haldane-0",
        }
    )
    assert read.runtime_gpu_image == "haldane/runtime-gpu:1"
    assert read.prometheus_url == "https://prometheus.example.com/base"
    assert (read.prometheus_username_file, read.prometheus_password_file, read.prometheus_ca_file) == (
        "/etc/prometheus/username",
        "/etc/prometheus/password",
        "/etc/prometheus/ca.crt",
    )
    assert read.prometheus_headers == {"X-Scope-OrgID": "payments|search"}
    assert read.watch_namespaces == ("a", "b")
    assert (read.workers, read.log_level, read.health_port, read.instance) == (2, "DEBUG", 0, "haldane-0")
    assert not read.gates


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RUNTIME_IMAGE", "", "HALDANE_RUNTIME_IMAGE is not set: write the image of the model runtime"),
        ("RUNTIME_IMAGE", "a b", "HALDANE_RUNTIME_IMAGE='a b': write the image of the model runtime"),
        ("PROMETHEUS_URL", "prometheus:9090", "HALDANE_PROMETHEUS_URL='prometheus:9090': write the base URL"),
        ("PROMETHEUS_URL", "http://p/?query=1", "write the base URL of Prometheus, for example http://"),
        ("PROMETHEUS_TOKEN_FILE", "token", "HALDANE_PROMETHEUS_TOKEN_FILE='token': write the absolute path of a file"),
        ("PROMETHEUS_USERNAME_FILE", "/a", "HALDANE_PROMETHEUS_PASSWORD_FILE belong together: set both, or neither"),
        ("PROMETHEUS_PASSWORD_FILE", "/a", "HALDANE_PROMETHEUS_PASSWORD_FILE belong together: set both, or neither"),
        ("PROMETHEUS_HEADERS", "X-Scope-OrgID: a", "write headers as a JSON object of texts, for example"),
        ("PROMETHEUS_HEADERS", '["a"]', "write headers as a JSON object of texts, for example"),
        ("PROMETHEUS_HEADERS", '{"A": 1}', "write headers as a JSON object of texts, for example"),
        ("PROMETHEUS_HEADERS", '{"A B": "1"}', "write headers as a JSON object of texts, for example"),
        ("PROMETHEUS_HEADERS", '{"A": "1\\r\\nB: 2"}', "write headers as a JSON object of texts, for example"),
        ("WATCH_NAMESPACES", "Team_A", "HALDANE_WATCH_NAMESPACES='Team_A': write the names of namespaces"),
        ("GATES", "yes", "HALDANE_GATES='yes': write on or off"),
        ("WORKERS", "many", "HALDANE_WORKERS='many': write a whole number from 1 to 256"),
        ("WORKERS", "0", "HALDANE_WORKERS='0': write a whole number from 1 to 256"),
        ("LOG_LEVEL", "loud", "HALDANE_LOG_LEVEL='loud': write one of DEBUG, INFO, WARNING and ERROR"),
        ("HEALTH_PORT", "70000", "HALDANE_HEALTH_PORT='70000': write a whole number from 0 to 65535"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings.load(LEAST | {f"HALDANE_{name}": value})
    assert sentence in str(caught.value)


def test_one_way_in_is_enough() -> None:
    both = {f"HALDANE_PROMETHEUS_{name}_FILE": "/a" for name in ("TOKEN", "USERNAME", "PASSWORD")}
    with pytest.raises(InvalidSettings, match="USERNAME_FILE are both set: leave one of them out"):
        settings.load(LEAST | both)
