"""Prometheus metrics: the contract that the operator's queries read.

Every series carries `model`, `model_namespace` and `revision`, so that a query holds whatever the
scrape configuration relabels. Nothing is registered globally: each `Metrics` has its own registry.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from haldane_runtime.core.types import ServedModel

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

REQUEST_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25,
    0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
INFERENCE_BUCKETS = (0.0001, 0.00025, 0.0005, *REQUEST_BUCKETS)

# Present from the start at 0, so that rate() and increase() see the first request of each code.
FIRST_CODES = (200, 400, 500, 503, 504)

_LABELS = ("model", "model_namespace", "revision")


class Metrics:
    """The series of one served model. Methods may be called from any thread."""

    def __init__(self, model: str, namespace: str, revision: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.revision = revision
        self._registry = registry = CollectorRegistry()
        self._values = values = (model, namespace, revision)
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "haldane_requests_total",
            "Inference requests by HTTP status; 499 is a client that left before its request was read.",
            (*_LABELS, "code"),
            registry=registry,
        )
        self._by_code = {code: self._requests.labels(*values, str(code)) for code in FIRST_CODES}
        self._duration = Histogram(
            "haldane_request_duration_seconds",
            "From the arrival of an inference request's headers to the last byte of its answer, whatever its code.",
            _LABELS,
            buckets=REQUEST_BUCKETS,
            registry=registry,
        ).labels(*values)
        self._inference = Histogram(
            "haldane_inference_seconds",
            "Time the engine took for a run, whether or not its answer was still awaited.",
            _LABELS,
            buckets=INFERENCE_BUCKETS,
            registry=registry,
        ).labels(*values)
        self._queue = Gauge(
            "haldane_queue_requests", "Requests that wait for the engine.", _LABELS, registry=registry
        ).labels(*values)
        self._queue.set(0)
        self._nonfinite = Counter(
            "haldane_nonfinite_outputs_total",
            "Runs with NaN or Infinity in an output, whether or not their answer was still awaited.",
            _LABELS,
            registry=registry,
        ).labels(*values)
        self._info = Gauge(
            "haldane_model_info",
            "1 once the model is loaded; the labels say which.",
            (*_LABELS, "version", "digest", "device"),
            registry=registry,
        )

    def request(self, code: int, seconds: float) -> None:
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._requests.labels(*self._values, str(code))
        counter.inc()
        self._duration.observe(seconds)

    def inference(self, seconds: float) -> None:
        self._inference.observe(seconds)

    def nonfinite(self) -> None:
        self._nonfinite.inc()

    def loaded(self, model: ServedModel) -> None:
        self._info.labels(*self._values, model.version, model.digest, model.device).set(1)

    def exposition(self, queued: int) -> bytes:
        """The text format; `queued` is the number of requests that wait now."""
        self._queue.set(queued)
        return generate_latest(self._registry)
