"""Configuration from the environment: read once, checked at once, passed on as a value."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from haldane_runtime.core.errors import LoadError, Reason

GRPC_PORT = 8081
FREE_PORT = -1
# Without a drain, requests are on the wire to connections that are closed as idle. A preStop sleep does not help:
# it ends before the process hears that it is to tell its clients.
DRAIN_SECONDS = 1.0

AUTO: Final = "auto"
PROVIDERS = ("TensorRT", "CUDA", "CPU")

# Kubernetes tells every pod of the Services of its namespace in variables that begin with their names.
_SERVICE = re.compile(r"HALDANE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_NEAR = 0.8

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"

_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to serve and how to serve it.

    Times are in seconds, sizes in bytes, batches in rows. Exactly one of `model_uri` and
    `model_repository` is set; the other is empty or None. `model_version` is empty when it is to be
    derived from the digest, `intra_op_threads` None when it is to follow the CPU quota and a
    measurement, `providers` empty when they are to follow the device. `port` 0 takes a free one;
    `grpc_port` is 0 for no gRPC and `FREE_PORT` for a free one. `max_batch_size` 1 means no
    batching, `queue_delay` 0 that only deadlines shed and AUTO that the cost of a run decides. `golden` is a path or the JSON itself.
    """

    model_uri: str
    model_repository: Path | None
    model_control: str
    model_name: str
    model_namespace: str
    revision: str
    model_version: str
    model_sha256: str | None
    s3_endpoint: str | None
    s3_region: str | None
    device: str
    providers: tuple[str, ...]
    cuda_graph: bool
    intra_op_threads: int | None
    precision: str
    precision_tolerance: float
    golden: str | None
    max_batch_size: int
    max_batch_delay: float
    queue: int
    queue_bytes: int
    queue_delay: float | Literal["auto"]
    request_timeout: float
    request_bytes: int
    request_log: float
    response_cache: str | None
    response_cache_ttl: float
    cache_dir: Path
    host: str
    port: int
    grpc_port: int
    fronts: int
    drain_seconds: float
    extension: str | None


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read `HALDANE_*`; an empty value counts as unset.

    Raises:
        LoadError: InvalidConfiguration, naming the variable, what was expected and what it holds.
    """
    get = _Reader(environ)
    port, grpc_port = _ports(get)
    request_timeout = get.real("HALDANE_REQUEST_TIMEOUT", 10, 0.001, 3600)
    return Settings(
        model_uri=get.text("HALDANE_MODEL_URI", ""),
        model_repository=_repository(get),
        model_control=get.choice("HALDANE_MODEL_CONTROL", "none", ("none", "explicit")),
        model_name=get.pattern("HALDANE_MODEL_NAME", "model", _NAME, "a name"),
        model_namespace=get.text("HALDANE_MODEL_NAMESPACE", ""),
        revision=get.text("HALDANE_REVISION", ""),
        model_version=get.pattern("HALDANE_MODEL_VERSION", "", _NAME, "a label-safe version"),
        model_sha256=get.pattern("HALDANE_MODEL_SHA256", "", r"[0-9a-fA-F]{64}", "64 hexadecimal digits").lower()
        or None,
        s3_endpoint=get.pattern("HALDANE_S3_ENDPOINT", "", r"https?://[^\s/]+/?", "a URL like https://s3.example.com")
        or None,
        s3_region=get.text("HALDANE_S3_REGION", "") or None,
        device=get.choice("HALDANE_DEVICE", "cpu", ("cpu", "gpu")),
        providers=get.choices("HALDANE_PROVIDERS", PROVIDERS),
        cuda_graph=get.choice("HALDANE_CUDA_GRAPH", "off", ("off", "on")) == "on",
        intra_op_threads=get.whole("HALDANE_INTRA_OP_THREADS", 0, 0, 1024) or None,
        precision=get.choice("HALDANE_PRECISION", "fp32", ("fp32", "fp16", "int8")),
        precision_tolerance=get.real("HALDANE_PRECISION_TOLERANCE", 0.01, 0, 1),
        golden=get.text("HALDANE_GOLDEN", "") or None,
        max_batch_size=get.whole("HALDANE_MAX_BATCH_SIZE", 64, 1, 65536),
        max_batch_delay=_batch_delay(get, request_timeout),
        queue=get.whole("HALDANE_QUEUE", 1024, 1, 1_000_000),
        queue_bytes=get.whole("HALDANE_QUEUE_BYTES", 256 << 20, 1, 1 << 40),
        queue_delay=_queue_delay(get),
        request_timeout=request_timeout,
        request_bytes=get.whole("HALDANE_REQUEST_BYTES", 64 << 20, 1, 1 << 40),
        request_log=get.real("HALDANE_REQUEST_LOG", 0, 0, 1),
        response_cache=_response_cache(get),
        response_cache_ttl=get.real("HALDANE_RESPONSE_CACHE_TTL", 300, 0.001, 31_536_000),
        cache_dir=Path(get.text("HALDANE_CACHE_DIR", "/var/cache/haldane")),
        host=get.text("HALDANE_HOST", ""),
        port=port,
        grpc_port=grpc_port,
        fronts=get.whole("HALDANE_FRONTS", 0, 0, 64),
        drain_seconds=get.real("HALDANE_DRAIN_SECONDS", DRAIN_SECONDS, 0, 3600),
        extension=get.pattern("HALDANE_EXTENSION", "", _FUNCTION, "a function like routes:extend") or None,
    )


def unknown_names(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    """A sentence for each `HALDANE_*` that is not `known`, with the setting that may be meant."""
    told = []
    for name in sorted(environ.keys() - set(known)):
        if not name.startswith("HALDANE_") or _SERVICE.fullmatch(name) or _SERVICE_ADDRESS.match(environ[name]):
            continue
        # Hardly ever needed, and the start waits for each import.
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1, _NEAR)
        told.append(f"{name} is no setting of the runtime and is ignored" + (f"; is {near[0]} meant?" if near else "."))
    return told


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        value = self._environ.get(name, "").strip()
        if name.endswith("_PORT") and _SERVICE_ADDRESS.match(value):
            # The address of a Service called haldane or haldane-grpc, which says nothing of where to listen.
            return default
        return value or default

    def pattern(self, name: str, default: str, pattern: str, expected: str) -> str:
        value = self.text(name, default)
        if value and not re.fullmatch(pattern, value):
            raise _wrong(name, expected, repr(value))
        return value

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise _wrong(name, _either(allowed), repr(value))
        return value

    def choices(self, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """A list by commas, each at most once and without regard to case; empty when unset."""
        value = self.text(name, "")
        known = {one.lower(): one for one in allowed}
        wanted = [one.strip().lower() for one in value.split(",")] if value else []
        if len(set(wanted)) < len(wanted) or not known.keys() >= set(wanted):
            raise _wrong(name, f"a list by commas of {_either(allowed)}, each at most once", repr(value))
        return tuple(known[one] for one in wanted)

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


def _repository(get: _Reader) -> Path | None:
    """The folder with several models; what describes one model cannot be told of it."""
    folder = get.text("HALDANE_MODEL_REPOSITORY", "")
    if not folder:
        if not get.text("HALDANE_MODEL_URI", ""):
            raise LoadError(
                Reason.INVALID_CONFIGURATION,
                "There is no model to serve: name one as in `haldane-runtime serve MODEL`, or set HALDANE_MODEL_URI or "
                "HALDANE_MODEL_REPOSITORY.",
            )
        return None
    for name in ("HALDANE_MODEL_URI", "HALDANE_MODEL_SHA256", "HALDANE_MODEL_VERSION", "HALDANE_GOLDEN"):
        if value := get.text(name, ""):
            raise _wrong(name, "unset when HALDANE_MODEL_REPOSITORY is set, as it describes one model", repr(value))
    return Path(folder)


def _ports(get: _Reader) -> tuple[int, int]:
    """Who leaves the port of HTTP open means any free ports: the fixed one of gRPC would be a surprise."""
    port = get.whole("HALDANE_PORT", 8080, 0, 65535)
    if port == 0 and not get.text("HALDANE_GRPC_PORT", ""):
        return port, FREE_PORT
    grpc_port = get.whole("HALDANE_GRPC_PORT", GRPC_PORT, 0, 65535)
    if port and port == grpc_port:
        raise _wrong("HALDANE_GRPC_PORT", "another port than HALDANE_PORT, or 0 for no gRPC", repr(str(port)))
    return port, grpc_port


def _batch_delay(get: _Reader, request_timeout: float) -> float:
    delay = get.real("HALDANE_MAX_BATCH_DELAY", 0, 0, 10)
    if delay > request_timeout:
        expected = f"at most HALDANE_REQUEST_TIMEOUT, which is {request_timeout:g}"
        raise _wrong("HALDANE_MAX_BATCH_DELAY", expected, repr(get.text("HALDANE_MAX_BATCH_DELAY", "")))
    return delay


def _queue_delay(get: _Reader) -> float | Literal["auto"]:
    text = get.text("HALDANE_QUEUE_DELAY", "0")
    if text == AUTO:
        return AUTO
    try:
        return get.real("HALDANE_QUEUE_DELAY", 0, 0, 3600)
    except LoadError:
        raise _wrong("HALDANE_QUEUE_DELAY", "auto or a number from 0 to 3600", repr(text)) from None


def _response_cache(get: _Reader) -> str | None:
    url = get.text("HALDANE_RESPONSE_CACHE", "")
    if url and not re.fullmatch(r"(rediss?|unix)://\S+", url):
        # The value may hold a password.
        raise _wrong("HALDANE_RESPONSE_CACHE", "a URL like redis://cache:6379/0", "something else")
    return url or None


def _either(allowed: Sequence[str]) -> str:
    return f"{', '.join(allowed[:-1])} or {allowed[-1]}"


def _wrong(name: str, expected: str, got: str) -> LoadError:
    return LoadError(Reason.INVALID_CONFIGURATION, f"{name} must be {expected}, but holds {got}.")
