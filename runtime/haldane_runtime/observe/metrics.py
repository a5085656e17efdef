"""Prometheus metrics: the contract that the operator's queries read.

Every series carries `model`, `model_namespace` and `revision`, so that a query holds whatever the
scrape configuration relabels. The numbers are plain Python values that the event loop's thread
adds to, and become series only when they are scraped: a counter of the client library takes ten
times as long, at a dozen a request. Nothing is registered globally.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from haldane_runtime.core.types import ServedModel
from haldane_runtime.observe.histogram import Buckets

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

REQUEST_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25,
    0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
INFERENCE_BUCKETS = (0.0001, 0.00025, 0.0005, *REQUEST_BUCKETS)
BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

# Present from the start at 0, so that rate() and increase() see the first request of each code.
FIRST_CODES = (200, 400, 500, 503, 504)

_LABELS = ("model", "model_namespace", "revision")


class ModelMetrics:
    """The numbers of one model, by all of its versions. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.requests = dict.fromkeys(FIRST_CODES, 0)
        self.duration = Buckets(REQUEST_BUCKETS)
        self.success_seconds = 0.0
        self.inference = Buckets(INFERENCE_BUCKETS)
        self.batch_rows = Buckets(BATCH_BUCKETS)
        self.ran_requests = 0
        self.waited_seconds = 0.0
        self.ran_seconds = 0.0
        self.nonfinite_runs = 0
        self.refusals = 0
        self.served: list[ServedModel] = []

    def request(self, code: int, seconds: float) -> None:
        """An inference request was answered with this HTTP status after so many seconds."""
        requests = self.requests
        requests[code] = requests.get(code, 0) + 1
        if code == 200:
            self.success_seconds += seconds
        self.duration.observe(seconds)

    def run(self, seconds: float, rows: int, requests: int, waited: float) -> None:
        """The engine ran for so many seconds for that many requests, which had waited `waited` seconds in all."""
        self.inference.observe(seconds)
        self.batch_rows.observe(rows)
        self.ran_requests += requests
        self.waited_seconds += waited
        self.ran_seconds += seconds * requests

    def nonfinite(self) -> None:
        self.nonfinite_runs += 1

    def refused(self) -> None:
        self.refusals += 1


class Metrics:
    """All series of one process; `waiting` gives the requests and rows that wait now, by model."""

    def __init__(self, namespace: str, revision: str) -> None:
        self.revision = revision
        self._namespace = namespace
        self._models: dict[str, ModelMetrics] = {}
        self._registry = CollectorRegistry()
        # Empty without a response cache.
        self.lookups: dict[str, int] = {}
        self.waiting: Callable[[], Mapping[str, tuple[int, int]]] = dict
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def model(self, name: str) -> ModelMetrics:
        """The numbers of the model of that name, made when there are none."""
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = ModelMetrics()
        return found

    def response_cache(self, outcome: str) -> None:
        """One lookup in the response cache, or an answer that it could not keep; see `cache.responses.Outcome`."""
        self.lookups[outcome] = self.lookups.get(outcome, 0) + 1

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """One family after the other, as `prometheus_client` asks its collectors."""
        labelled = [(metrics, (name, self._namespace, self.revision)) for name, metrics in self._models.items()]
        requests = CounterMetricFamily(
            "haldane_requests",
            "Inference requests by HTTP status; 499 is a client that left before its answer.",
            labels=(*_LABELS, "code"),
        )
        nonfinite = CounterMetricFamily(
            "haldane_nonfinite_outputs",
            "Runs with NaN or Infinity in an output, whether or not their answer was still awaited.",
            labels=_LABELS,
        )
        refusals = CounterMetricFamily(
            "haldane_refused_requests",
            "Requests refused at once because of the queue or a deadline that could not be met.",
            labels=_LABELS,
        )
        info = GaugeMetricFamily(
            "haldane_model_info",
            "1 once the model is loaded; the labels say which.",
            labels=(*_LABELS, "version", "digest", "precision", "device"),
        )
        for metrics, labels in labelled:
            for code, count in metrics.requests.items():
                requests.add_metric((*labels, str(code)), count)
            nonfinite.add_metric(labels, metrics.nonfinite_runs)
            refusals.add_metric(labels, metrics.refusals)
            for model in metrics.served:
                info.add_metric((*labels, model.version, model.digest, model.precision, model.device), 1)
        yield from (requests, nonfinite, refusals, info)
        if self.lookups:
            lookups = CounterMetricFamily(
                "haldane_response_cache",
                "Lookups in the response cache by what became of them, and answers that could not be kept (unstored).",
                labels=("model_namespace", "revision", "outcome"),
            )
            for outcome, count in self.lookups.items():
                lookups.add_metric((self._namespace, self.revision, outcome), count)
            yield lookups
        yield from self._gauges(labelled)
        yield from _histograms(labelled)

    def _gauges(self, labelled: Sequence[tuple[ModelMetrics, tuple[str, ...]]]) -> Iterator[Metric]:
        waiting = self.waiting()
        requests = GaugeMetricFamily("haldane_queue_requests", "Requests that wait for the engine.", labels=_LABELS)
        rows = GaugeMetricFamily("haldane_queue_rows", "Rows that wait for the engine.", labels=_LABELS)
        for _, labels in labelled:
            queued = waiting.get(labels[0], (0, 0))
            requests.add_metric(labels, queued[0])
            rows.add_metric(labels, queued[1])
        yield from (requests, rows)


def _histograms(labelled: Sequence[tuple[ModelMetrics, tuple[str, ...]]]) -> Iterator[Metric]:
    duration = HistogramMetricFamily(
        "haldane_request_duration_seconds",
        "From the arrival of an inference request's last byte to the last byte of its answer, whatever its code.",
        labels=_LABELS,
    )
    inference = HistogramMetricFamily(
        "haldane_inference_seconds",
        "Time the engine took for a run, whether or not its answer was still awaited.",
        labels=_LABELS,
    )
    batch = HistogramMetricFamily("haldane_batch_rows", "Rows that went into one run.", labels=_LABELS)
    for metrics, labels in labelled:
        for family, buckets in (
            (duration, metrics.duration),
            (inference, metrics.inference),
            (batch, metrics.batch_rows),
        ):
            family.add_metric(labels, list(buckets.cumulative()), buckets.sum)
    yield from (duration, inference, batch)
