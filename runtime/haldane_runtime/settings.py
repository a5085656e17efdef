"""Configuration from the environment: read once, checked at once, passed on as a value."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason


@dataclass(frozen=True, slots=True)
class Settings:
    """One model and how to serve it.

    Times are in seconds, sizes in bytes. `model_version` is empty when it is to be derived from
    the digest, `intra_op_threads` is None when it is to follow the CPU quota.
    """

    model_uri: str
    model_name: str
    model_namespace: str
    revision: str
    model_version: str
    model_sha256: str | None
    s3_endpoint: str | None
    s3_region: str | None
    device: str
    intra_op_threads: int | None
    queue: int
    request_timeout: float
    request_bytes: int
    cache_dir: Path
    host: str
    port: int
    drain_seconds: float


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read `HALDANE_*`; an empty value counts as unset.

    Raises:
        LoadError: InvalidConfiguration, naming the variable, what was expected and what it holds.
    """
    get = _Reader(environ)
    uri = get.text("HALDANE_MODEL_URI", "")
    if not uri:
        raise _wrong("HALDANE_MODEL_URI", "an s3://, https:// or file:// URI of a model", "nothing")
    return Settings(
        model_uri=uri,
        model_name=get.pattern("HALDANE_MODEL_NAME", "model", r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a name"),
        model_namespace=get.text("HALDANE_MODEL_NAMESPACE", ""),
        revision=get.text("HALDANE_REVISION", ""),
        model_version=get.pattern(
            "HALDANE_MODEL_VERSION", "", r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a label-safe version"
        ),
        model_sha256=get.pattern("HALDANE_MODEL_SHA256", "", r"[0-9a-fA-F]{64}", "64 hexadecimal digits").lower()
        or None,
        s3_endpoint=get.pattern("HALDANE_S3_ENDPOINT", "", r"https?://[^\s/]+/?", "a URL like https://s3.example.com")
        or None,
        s3_region=get.text("HALDANE_S3_REGION", "") or None,
        device=get.pattern("HALDANE_DEVICE", "cpu", r"cpu|gpu", "cpu or gpu"),
        intra_op_threads=get.whole("HALDANE_INTRA_OP_THREADS", 0, 0, 1024) or None,
        queue=get.whole("HALDANE_QUEUE", 1024, 1, 1_000_000),
        request_timeout=get.real("HALDANE_REQUEST_TIMEOUT", 10, 0.001, 3600),
        request_bytes=get.whole("HALDANE_REQUEST_BYTES", 64 << 20, 1, 1 << 40),
        cache_dir=Path(get.text("HALDANE_CACHE_DIR", "/var/cache/haldane")),
        host=get.text("HALDANE_HOST", ""),
        port=get.whole("HALDANE_PORT", 8080, 0, 65535),
        drain_seconds=get.real("HALDANE_DRAIN_SECONDS", 0, 0, 3600),
    )


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def pattern(self, name: str, default: str, pattern: str, expected: str) -> str:
        value = self.text(name, default)
        if value and not re.fullmatch(pattern, value):
            raise _wrong(name, expected, repr(value))
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[+-]?\d+", value) or not low <= int(value) <= high:
            raise _wrong(name, f"a whole number from {low} to {high}", repr(value))
        return int(value)

    def real(self, name: str, default: float, low: float, high: float) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise _wrong(name, f"a number from {low} to {high}", repr(value))
        return number


def _wrong(name: str, expected: str, got: str) -> LoadError:
    return LoadError(Reason.INVALID_CONFIGURATION, f"{name} must be {expected}, but holds {got}.")
