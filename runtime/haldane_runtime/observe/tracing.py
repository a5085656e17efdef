"""A trace of every request, when OpenTelemetry's own variables name where to send them.

Spans are made once, when the request is over and its times are known: until then tracing costs a
request nothing, and without the variables not even the import. A collector that is slow or away costs
spans: they wait in the SDK's bounded queue and are dropped when it is full.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

log = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0
SERVICE_NAME = "haldane-runtime"


class Tracing:
    """Made by `from_environment`. `request` may be called from any thread and never raises or waits."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("haldane_runtime")
        self._propagator = TraceContextTextMapPropagator()

    def request(
        self,
        name: str,
        *,
        traceparent: str | None,
        tracestate: str | None,
        seconds: float,
        decode: float,
        queue: float,
        infer: float,
        encode: float,
        code: int,
        attributes: "Mapping[str, AttributeValue]",
    ) -> None:
        """Record a request that has ended just now: a server span with a child for each phase that took time.

        `name` is like "POST /v2/models/{model}/infer"; `traceparent` and `tracestate` are the headers of
        the W3C Trace Context (https://www.w3.org/TR/trace-context/), None or malformed for a new trace;
        `seconds` is the whole time and the others its phases; from `code` 500 on it is an error.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        ended = time.time_ns()
        started = ended - _nanoseconds(seconds)
        carrier = {"traceparent": traceparent, "tracestate": tracestate}
        parent = self._propagator.extract({header: value for header, value in carrier.items() if value})
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=started)
        if span.is_recording():
            within = set_span_in_context(span)
            at = started
            for phase, length in (("decode", decode), ("queue", queue), ("infer", infer), ("encode", encode)):
                if length > 0:
                    # The answer is encoded last; what lies before it is the event loop's.
                    at = ended - _nanoseconds(length) if phase == "encode" else at
                    child = self._tracer.start_span(phase, within, start_time=at)
                    at += _nanoseconds(length)
                    child.end(at)
            if code >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send what waits, for at most `CLOSE_SECONDS`."""
        # The SDK's own limits add up to far more than a drain has.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def from_environment(environ: Mapping[str, str], namespace: str, revision: str) -> Tracing | None:
    """Tracing to OTEL_EXPORTER_OTLP_ENDPOINT (or .._TRACES_ENDPOINT); None when neither is set or it is switched off.

    `environ` must be the process's own environment: the SDK reads the rest of its variables (sampler,
    headers, time-outs, resource attributes) from there.
    """
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not endpoint or off:
        return None
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        # Often set for a whole cluster: no reason to refuse to serve.
        log.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL is %s, but only http/protobuf is spoken here", protocol)
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {"haldane.namespace": namespace, "haldane.revision": revision}
    resource = Resource.create(own if named else own | {"service.name": SERVICE_NAME})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    log.info("traces go to %s", endpoint)
    return Tracing(provider)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
