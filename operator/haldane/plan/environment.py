"""What the runtime container is told: `spec.model` and `spec.runtime` as its environment variables.

A variable is set only when its field is: a spec that leaves a field out gets what the runtime itself has for a default,
and gives the same environment under every version of the operator.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from haldane.api.model import Model
from haldane.api.quantity import AUTO, parse_bytes, parse_duration
from haldane.api.runtime import ResponseCache
from haldane.api.v1alpha1 import ModelDeployment

Manifest = dict[str, Any]

PORT = 8080
GRPC_PORT = 8081
CACHE_DIR = "/var/cache/haldane"
MODEL_DIR = "/mnt/model"
"""Where the claim of a pvc:// model is mounted."""
TERMINATION_LOG = "/dev/termination-log"

CACHE_VARIABLE = "HALDANE_RESPONSE_CACHE"

_CLAIM_SCHEME = "pvc://"


def environment(md: ModelDeployment, revision: str, version: str) -> list[Manifest]:
    """Variables of the runtime container, `spec.runtime.env` last."""
    model, runtime = md.spec.model, md.spec.runtime
    s3, limits, session = model.s3, runtime.limits, runtime.session
    batching, cache = runtime.batching, runtime.response_cache
    values: dict[str, str | None] = {
        "HALDANE_MODEL_NAME": md.metadata.name,
        "HALDANE_MODEL_NAMESPACE": md.metadata.namespace,
        "HALDANE_REVISION": revision,
        "HALDANE_MODEL_VERSION": version,
        "HALDANE_MODEL_URI": _uri(model),
        "HALDANE_MODEL_SHA256": model.sha256,
        "HALDANE_GOLDEN": _golden(model),
        "HALDANE_S3_ENDPOINT": s3.endpoint if s3 else None,
        "HALDANE_S3_REGION": s3.region if s3 else None,
        "HALDANE_DEVICE": runtime.device,
        "HALDANE_PROVIDERS": ",".join(session.providers) if session.providers else None,
        "HALDANE_INTRA_OP_THREADS": _text(session.intra_op_threads),
        "HALDANE_PRECISION": session.precision,
        "HALDANE_PRECISION_TOLERANCE": _fraction(session.precision_tolerance),
        "HALDANE_MAX_BATCH_SIZE": _text(batching.max_batch_size) if batching else None,
        "HALDANE_MAX_BATCH_DELAY": _seconds(batching.max_delay) if batching else None,
        "HALDANE_QUEUE": _text(limits.queue),
        "HALDANE_QUEUE_BYTES": _bytes(limits.queue_bytes),
        "HALDANE_QUEUE_DELAY": AUTO if limits.queue_delay == AUTO else _seconds(limits.queue_delay),
        "HALDANE_REQUEST_TIMEOUT": _seconds(limits.request_timeout),
        "HALDANE_REQUEST_BYTES": _bytes(limits.request_bytes),
        CACHE_VARIABLE: cache.url if cache else None,
        "HALDANE_RESPONSE_CACHE_TTL": _seconds(cache.ttl) if cache else None,
        "HALDANE_REQUEST_LOG": _fraction(runtime.request_log.sample) if runtime.request_log else None,
        "HALDANE_CACHE_DIR": CACHE_DIR,
        "HALDANE_PORT": str(PORT),
        "HALDANE_GRPC_PORT": None if grpc_enabled(md) else "0",
        "HALDANE_TERMINATION_LOG": TERMINATION_LOG,
    }
    own = [{"name": name, "value": value} for name, value in values.items() if value is not None]
    return [*own, *_from_secret(cache), *(variable.to_wire() for variable in runtime.env)]


def claim(model: Model) -> str | None:
    """The PersistentVolumeClaim that holds the model; None for a model that is fetched."""
    if not model.uri.startswith(_CLAIM_SCHEME):
        return None
    return model.uri.removeprefix(_CLAIM_SCHEME).partition("/")[0]


def grpc_enabled(md: ModelDeployment) -> bool:
    """Whether the pods serve gRPC."""
    return md.spec.runtime.grpc is None or md.spec.runtime.grpc.enabled


def _uri(model: Model) -> str:
    if claim(model) is None:
        return model.uri
    return f"file://{MODEL_DIR}/{model.uri.removeprefix(_CLAIM_SCHEME).partition('/')[2]}"


def _golden(model: Model) -> str | None:
    # Kubernetes expands $(NAME) and $$ in the values of variables; in JSON, $ stands in strings alone.
    return model.golden.to_json().replace("$", "\\u0024") if model.golden else None


def _from_secret(cache: ResponseCache | None) -> list[Manifest]:
    if cache is None or cache.secret_ref is None:
        return []
    source = {"name": cache.secret_ref.name, "key": cache.secret_ref.key or "url"}
    return [{"name": CACHE_VARIABLE, "valueFrom": {"secretKeyRef": source}}]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _bytes(size: str | None) -> str | None:
    return None if size is None else str(parse_bytes(size))


def _seconds(duration: str | None) -> str | None:
    """Seconds without exponent or trailing zeros: 250ms -> `0.25`, 10s -> `10`."""
    return None if duration is None else _plain(f"{parse_duration(duration).total_seconds():.6f}")


def _fraction(share: str | None) -> str | None:
    """A percentage as a fraction, digit by digit: 0.07% -> `0.0007`."""
    return None if share is None else _plain(f"{Decimal(share.removesuffix('%')).scaleb(-2):f}")


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number
