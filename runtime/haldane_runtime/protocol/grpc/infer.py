"""ModelInfer: from a message to the batcher and back, without a task on the way."""

from collections.abc import Callable
from dataclasses import dataclass

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import RequestError, missed_deadline
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.core.watch import Prediction
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.protocol.grpc.call import GrpcCall, Method, Shared
from haldane_runtime.protocol.grpc.headers import metadata_value
from haldane_runtime.protocol.grpc.hpack import Fields
from haldane_runtime.protocol.grpc.schema import INFERENCE
from haldane_runtime.protocol.grpc.tensors import TensorCodec, parse_infer
from haldane_runtime.protocol.inference import new_request_id
from haldane_runtime.scheduling.ticket import Outcome, Ticket

Clock = Callable[[], float]

VERSION_METADATA = b"x-haldane-version"
# As OpenTelemetry names the span of a call.
SPAN = f"{INFERENCE}/ModelInfer"
_MOST_PREPARED = 256


@dataclass(slots=True)
class _Prepared:
    """What all requests of one loaded model version share."""

    instance: ModelInstance
    codec: TensorCodec
    identity: Fields


class _Account:
    """Where one call counts, and what is told of it if somebody wants to know."""

    __slots__ = ("metrics", "told")

    def __init__(self, told: Prediction | None) -> None:
        self.metrics: ModelMetrics | None = None
        self.told = told


class _Inference:
    """One request on its way through the batcher."""

    __slots__ = ("call", "clock", "id", "prepared", "ticket", "told")

    def __init__(
        self, call: GrpcCall, prepared: _Prepared, request_id: str, told: Prediction | None, clock: Clock
    ) -> None:
        self.call = call
        self.prepared = prepared
        self.id = request_id
        self.told = told
        self.clock = clock
        self.ticket: Ticket | None = None

    def done(self, outcome: Outcome) -> None:
        call = self.call
        # It refers to this in turn.
        self.ticket = None
        try:
            if isinstance(outcome, RequestError):
                call.refuse(_worded(outcome, call))
                return
            begun = self.clock()
            parts = self.prepared.codec.encode(outcome, self.id, (begun - call.started) * 1000)
            if self.told is not None:
                self.told.queue, self.told.infer = outcome.queue_seconds, outcome.infer_seconds
                self.told.encode = self.clock() - begun
            call.reply(*parts)
        except Exception as error:
            call.fail(error)

    def cancel(self) -> None:
        if self.ticket is not None:
            self.prepared.instance.cancel(self.ticket)
            self.ticket = None


class Infer(Method):
    """Counts every call as an inference request, whatever becomes of it, as the other transport does."""

    def __init__(self, plane: DataPlane, shared: Shared) -> None:
        self._plane = plane
        self._shared = shared
        self._prepared: dict[int, _Prepared] = {}

    def open(self, call: GrpcCall) -> None:
        """See `Method.open`."""
        watch = self._plane.watch
        told = None
        if watch is not None and watch.wants():
            varying = call.received.varying
            told = Prediction(
                SPAN,
                traceparent=_text(varying.get(b"traceparent")),
                tracestate=_text(varying.get(b"tracestate")),
            )
        call.state = _Account(told)

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        """See `Method.message`."""
        account = call.state
        assert isinstance(account, _Account)
        told = account.told
        begun = self._shared.clock() if told is not None else 0.0
        message, raw = parse_infer(data)
        call.request_id = request_id = message.id or _given_id(call)
        prepared = self._of(message.model_name, message.model_version, call, account)
        if told is not None:
            told.model, told.version = prepared.instance.model.name, prepared.instance.model.version
        decoded = prepared.codec.decode(message, raw)
        if told is not None:
            told.decode, told.request = self._shared.clock() - begun, decoded.request
        if decoded.timeout is not None and call.started + decoded.timeout < call.deadline:
            call.deadline = call.started + decoded.timeout
            call.impatient = True
        inference = _Inference(call, prepared, request_id, told, self._shared.clock)
        try:
            inference.ticket = prepared.instance.submit(decoded.request, call.deadline, inference.done)
        except RequestError as error:
            raise _worded(error, call) from None
        call.on_gone = inference.cancel

    def foresee(self, call: GrpcCall, size: int, start: bytes) -> None:
        """See `Method.foresee`."""
        name = _first_text(start)
        if name is not None:
            instance = self._plane.find(name)
            try:
                instance.admit(size, call.deadline)
            except RequestError as error:
                raise _worded(error, call) from None

    def over(self, call: GrpcCall, code: int, message: str) -> None:
        """See `Method.over`."""
        account = call.state if isinstance(call.state, _Account) else _Account(None)
        metrics = account.metrics or self._plane.metrics_of(None)
        # As of the other transport: how long a client takes to send its message says nothing of the model.
        seconds = self._shared.clock() - call.arrived
        metrics.request(code, seconds)
        # Without a message that could be read, its headers alone say which call this was.
        call.request_id = call.request_id or _given_id(call)
        if account.told is not None and self._plane.watch is not None:
            account.told.id, account.told.code, account.told.seconds = call.request_id, code, seconds
            account.told.outcome = message or "ok"
            self._plane.watch.tell(account.told)

    def _of(self, name: str, version: str, call: GrpcCall, account: _Account) -> _Prepared:
        if not name:
            name = self._plane.find(None).model.name
        try:
            instance = self._plane.find(name, version or None)
        except RequestError:
            account.metrics = self._plane.metrics_of(name)
            raise
        prepared = self._prepared.get(id(instance))
        if prepared is None or prepared.instance is not instance:
            prepared = self._prepare(instance)
        account.metrics = instance.metrics
        call.identity = prepared.identity
        return prepared

    def _prepare(self, instance: ModelInstance) -> _Prepared:
        # Models that were unloaded leave with the rest; what still serves is soon prepared again.
        if len(self._prepared) >= _MOST_PREPARED:
            self._prepared.clear()
        version = (VERSION_METADATA, metadata_value(instance.model.version))
        prepared = _Prepared(instance, TensorCodec(instance.model), (*self._shared.identity, version))
        self._prepared[id(instance)] = prepared
        return prepared


def _worded(error: RequestError, call: GrpcCall) -> RequestError:
    """The error as this client should read it: neither its own short deadline nor its slow message is our fault."""
    return missed_deadline(error, call.deadline - call.started, call.arrived - call.started, call.impatient)


def _given_id(call: GrpcCall) -> str:
    return _text(call.received.varying.get(b"x-request-id")) or new_request_id()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _first_text(start: bytes) -> str | None:
    """Field 1 of a message, the model's name, when it is what the message begins with and short."""
    if len(start) < 2 or start[0] != 0x0A or start[1] >= 0x80 or len(start) < 2 + start[1]:
        return None
    return start[2 : 2 + start[1]].decode("utf-8", "replace")
