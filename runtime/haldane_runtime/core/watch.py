"""Who is told of single predictions: the request log and the traces, when there are any."""

from collections.abc import Mapping
from dataclasses import dataclass

from haldane_runtime.cache.key import inputs_digest
from haldane_runtime.core.types import InferRequest
from haldane_runtime.observe.requestlog import RequestLog
from haldane_runtime.observe.tracing import Tracing


@dataclass(slots=True)
class Prediction:
    """What is known of one request, filled in as it goes; phases that it has not reached are 0, in seconds.

    `name` is like "POST /v2/models/{model}/infer", `code` an HTTP status, `outcome` "ok" or what went wrong.
    """

    name: str
    id: str = ""
    model: str = ""
    version: str = ""
    request: InferRequest | None = None
    code: int = 0
    outcome: str = "ok"
    seconds: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    encode: float = 0.0
    traceparent: str | None = None
    tracestate: str | None = None


class Watch:
    """Belongs to the event loop's thread; at least one of the two is given."""

    def __init__(self, log: RequestLog | None, tracing: Tracing | None) -> None:
        self._log = log
        self._tracing = tracing

    def wants(self) -> bool:
        """True when the request at hand is to be told of; asked once a request."""
        return self._tracing is not None or (self._log is not None and self._log.sample())

    def tell(self, prediction: Prediction) -> None:
        """The request is over."""
        if self._log is not None and (self._tracing is None or self._log.sample()):
            self._write(self._log, prediction)
        if self._tracing is not None:
            self._trace(self._tracing, prediction)

    def close(self) -> None:
        """Write and send what waits."""
        if self._log is not None:
            self._log.close()
        if self._tracing is not None:
            self._tracing.close()

    def _write(self, log: RequestLog, prediction: Prediction) -> None:
        request = prediction.request
        log.write(
            id=prediction.id,
            model=prediction.model,
            version=prediction.version,
            digest=inputs_digest(request.inputs) if request is not None else b"",
            code=prediction.code,
            outcome=prediction.outcome,
            rows=_rows(request),
            decode=prediction.decode,
            queue=prediction.queue,
            infer=prediction.infer,
            encode=prediction.encode,
        )

    def _trace(self, tracing: Tracing, prediction: Prediction) -> None:
        attributes: Mapping[str, str | int] = {
            "haldane.model": prediction.model,
            "haldane.version": prediction.version,
            "haldane.request_id": prediction.id,
            "haldane.rows": _rows(prediction.request),
            "http.response.status_code": prediction.code,
        }
        tracing.request(
            prediction.name,
            traceparent=prediction.traceparent,
            tracestate=prediction.tracestate,
            seconds=prediction.seconds,
            decode=prediction.decode,
            queue=prediction.queue,
            infer=prediction.infer,
            encode=prediction.encode,
            code=prediction.code,
            attributes=attributes,
        )


def _rows(request: InferRequest | None) -> int:
    """The first input's first dimension; 1 without one, 0 for a request that was never read."""
    if request is None:
        return 0
    shape = next(iter(request.inputs.values())).shape
    return shape[0] if shape else 1
