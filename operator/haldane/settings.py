"""What the operator is told by its environment; nothing else configures it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_NAMESPACE = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_HEADER = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]*")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class InvalidSettings(ValueError):
    """A variable that is missing or cannot be read; the message names it and says what to write."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings, each from the environment variable of its name with `HALDANE_` before it."""

    runtime_image: str
    """Image of the runtime for models that name none."""
    runtime_gpu_image: str
    """The same for `device: gpu`; `runtime_image` when not set."""
    prometheus_url: str
    """Base URL of Prometheus; empty: every check is Inconclusive, and says so."""
    prometheus_token_file: str
    """File with the bearer token that Prometheus is shown; empty: none."""
    prometheus_username_file: str
    """File with the user of basic authentication; empty: none."""
    prometheus_password_file: str
    """File with that user's password."""
    prometheus_ca_file: str
    """File with the certificates, in PEM, that Prometheus' own is checked against; empty: the system's."""
    prometheus_headers: Mapping[str, str]
    """More headers of every query, for example a tenant's name."""
    watch_namespaces: tuple[str, ...]
    """Namespaces to serve; empty: all."""
    gates: bool
    """Whether a candidate's pods are asked for their signature and a few answers before they get any traffic."""
    workers: int
    """ModelDeployments that are reconciled at once."""
    log_level: str
    health_port: int
    """Port of `/healthz`, on every interface; 0: any free one, on 127.0.0.1."""
    instance: str
    """Name of this process in Events: its pod."""


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment. Raises InvalidSettings."""
    image = _read(environ, "RUNTIME_IMAGE", None, _image)
    token, username, password, ca = (
        _read(environ, f"PROMETHEUS_{name}_FILE", "", _file) for name in ("TOKEN", "USERNAME", "PASSWORD", "CA")
    )
    if token and username:
        raise InvalidSettings(
            "HALDANE_PROMETHEUS_TOKEN_FILE and HALDANE_PROMETHEUS_USERNAME_FILE are both set: leave one of them out"
        )
    if bool(username) != bool(password):
        raise InvalidSettings(
            "HALDANE_PROMETHEUS_USERNAME_FILE and HALDANE_PROMETHEUS_PASSWORD_FILE belong together: set both, or neither"
        )
    return Settings(
        runtime_image=image,
        runtime_gpu_image=_read(environ, "RUNTIME_GPU_IMAGE", image, _image),
        prometheus_url=_read(environ, "PROMETHEUS_URL", "", _url),
        prometheus_token_file=token,
        prometheus_username_file=username,
        prometheus_password_file=password,
        prometheus_ca_file=ca,
        prometheus_headers=_read(environ, "PROMETHEUS_HEADERS", "{}", _headers),
        watch_namespaces=_read(environ, "WATCH_NAMESPACES", "", _namespaces),
        gates=_read(environ, "GATES", "on", _switch),
        workers=_read(environ, "WORKERS", "8", _number(1, 256)),
        log_level=_read(environ, "LOG_LEVEL", "INFO", _level),
        health_port=_read(environ, "HEALTH_PORT", "8090", _number(0, 65535)),
        instance=environ.get("HALDANE_INSTANCE") or socket.gethostname(),
    )


def _read(environ: Mapping[str, str], name: str, default: str | None, parse: Callable[[str], T]) -> T:
    variable = f"HALDANE_{name}"
    written = environ.get(variable, "").strip()
    if not written and default is None:
        raise InvalidSettings(f"{variable} is not set: write {parse.__doc__}")
    try:
        return parse(written or default or "")
    except ValueError:
        raise InvalidSettings(f"{variable}={written!r}: write {parse.__doc__}") from None


def _image(text: str) -> str:
    """the image of the model runtime, for example haldane/runtime:0.1.0"""
    if not text or any(character.isspace() for character in text):
        raise ValueError
    return text


def _url(text: str) -> str:
    """the base URL of Prometheus, for example http://prometheus.monitoring.svc:9090, or nothing"""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query):
        raise ValueError
    return text.rstrip("/")


def _file(text: str) -> str:
    """the absolute path of a file, for example /etc/haldane/prometheus/token, or nothing"""
    if text and not text.startswith("/"):
        raise ValueError
    return text


def _headers(text: str) -> dict[str, str]:
    """headers as a JSON object of texts, for example {"X-Scope-OrgID": "payments"}, or nothing"""
    headers = json.loads(text)
    if not isinstance(headers, dict) or not all(
        _HEADER.fullmatch(name) and isinstance(value, str) and value.isprintable() for name, value in headers.items()
    ):
        raise ValueError
    return headers


def _namespaces(text: str) -> tuple[str, ...]:
    """the names of namespaces with commas between them, for example team-a,team-b, or nothing for all of them"""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not all(_NAMESPACE.match(name) for name in names):
        raise ValueError
    return names


def _switch(text: str) -> bool:
    """on or off"""
    if text.lower() not in ("on", "off"):
        raise ValueError
    return text.lower() == "on"


def _level(text: str) -> str:
    """one of DEBUG, INFO, WARNING and ERROR"""
    if text.upper() not in _LEVELS:
        raise ValueError
    return text.upper()


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not lowest <= int(text) <= highest:
            raise ValueError
        return int(text)

    parse.__doc__ = f"a whole number from {lowest} to {highest}"
    return parse
