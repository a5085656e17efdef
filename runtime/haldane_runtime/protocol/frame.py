"""The frame around every request: when it came, what it cost, who answered, and the connection's end in a drain."""

import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.watch import Prediction, Watch
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.protocol.headers import REQUEST_ID_HEADER, id_value

log = logging.getLogger(__name__)

# A client that left while its body was being read never sees a status; proxies log it by this one.
CLIENT_CLOSED_REQUEST = 499

REVISION_HEADER = b"x-haldane-revision"
VERSION_HEADER = b"x-haldane-version"

_STARTED = "haldane.started"
_ARRIVED = "haldane.arrived"
_INFERENCE = "haldane.inference"
_VERSION = "haldane.version"
_PREDICTION = "haldane.prediction"
_REQUEST_ID = "haldane.request_id"
_ID_HEADER = REQUEST_ID_HEADER.encode()
# In the scope's state, by who was in front of the application: whether the request is one to be told of.
WATCHED = "haldane.watched"


def started_at(scope: Scope) -> float:
    """The clock's instant at which the request's headers had arrived."""
    started: float = scope[_STARTED]
    return started


def mark_arrival(scope: Scope, now: float) -> None:
    """The whole request had arrived at this instant: from here on its time is the server's."""
    scope[_ARRIVED] = now


def mark_inference(scope: Scope, metrics: ModelMetrics) -> None:
    """Count this request as an inference, whatever becomes of it."""
    scope[_INFERENCE] = metrics


def watch_prediction(scope: Scope, watch: Watch | None, name: str) -> Prediction | None:
    """Begin to note what becomes of this request, when it is one to be told of."""
    if watch is None:
        return None
    watched = scope.get("state", {}).get(WATCHED)
    if not (watch.wants() if watched is None else watched):
        return None
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    prediction = Prediction(name, traceparent=headers.get("traceparent"), tracestate=headers.get("tracestate"))
    scope[_PREDICTION] = prediction
    return prediction


def sign_version(scope: Scope, version: str) -> None:
    """The version that answers, for the answer's headers."""
    scope[_VERSION] = version


def mark_id(scope: Scope, request_id: str) -> None:
    """The request's id, which its answer carries when that is an error."""
    scope[_REQUEST_ID] = id_value(request_id)


def prediction_of(scope: Scope) -> Prediction | None:
    """What is to be told of this request; None when it is not one of those."""
    prediction: Prediction | None = scope.get(_PREDICTION)
    return prediction


class RequestFrame:
    """Outermost, so that the measured time holds all that a client waits for inside this process."""

    def __init__(self, app: ASGIApp, plane: DataPlane, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._plane = plane
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = scope[_STARTED] = self._clock()
        status = CLIENT_CLOSED_REQUEST
        answering = False
        answered: float | None = None

        async def framed(message: Message) -> None:
            nonlocal status, answering, answered
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                if scope.get(_INFERENCE):
                    self._sign(message, scope.get(_VERSION))
                if status >= 400:
                    _identify(message, scope)
                if self._plane.draining:
                    _close_after(message)
            await send(message)
            if message.get("body"):
                # What comes after the last of these is nothing that the client waits for.
                answered = self._clock()

        try:
            await self._app(scope, receive, framed)
        except Exception as error:
            if answering:
                raise
            log.exception("a request failed by a fault of the server")
            # Answered here and not further out, so that a fault of ours counts, and is signed, as a 500 of this revision.
            await _apologise(framed, error)
        finally:
            metrics: ModelMetrics | None = scope.get(_INFERENCE)
            if metrics is not None:
                seconds = (answered or self._clock()) - scope.get(_ARRIVED, started)
                metrics.request(status, seconds)
                self._tell(prediction_of(scope), status, seconds)

    def _tell(self, prediction: Prediction | None, status: int, seconds: float) -> None:
        if prediction is None or self._plane.watch is None:
            return
        prediction.code, prediction.seconds = status, seconds
        if prediction.outcome == "ok" and status != 200:
            prediction.outcome = "the client left" if status == CLIENT_CLOSED_REQUEST else "internal error"
        self._plane.watch.tell(prediction)

    def _sign(self, message: Message, version: str | None) -> None:
        """Errors, too, say whose they are: in a rollout a client tells the candidate's from the route's by it."""
        identity = (
            (REVISION_HEADER, self._plane.metrics.revision),
            (VERSION_HEADER, version or self._plane.version),
        )
        signed = [(name, value.encode("latin-1", "replace")) for name, value in identity if value]
        message["headers"] = [*message.get("headers", ()), *signed]


def _identify(message: Message, scope: Scope) -> None:
    """An answer says its id in its body, where an error has its sentence alone."""
    headers = [*message.get("headers", ())]
    given = scope.get(_REQUEST_ID) or next((value for key, value in scope["headers"] if key == _ID_HEADER), b"")
    if given and all(key.lower() != _ID_HEADER for key, _ in headers):
        message["headers"] = [*headers, (_ID_HEADER, given)]


def _close_after(message: Message) -> None:
    """A kept connection would carry a next request into a server that is about to close it."""
    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]


async def _apologise(send: Send, error: Exception) -> None:
    body = json.dumps({"error": f"internal error: {type(error).__name__}"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
