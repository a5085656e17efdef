"""ModelInfer: from a message to the batcher and back, without a task on the way."""

from dataclasses import dataclass

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.protocol.grpc.call import GrpcCall, Method, Shared
from haldane_runtime.protocol.grpc.hpack import Fields
from haldane_runtime.protocol.grpc.tensors import TensorCodec, parse_infer
from haldane_runtime.scheduling.ticket import Outcome, Ticket

VERSION_METADATA = b"x-haldane-version"
_MOST_PREPARED = 256


@dataclass(slots=True)
class _Prepared:
    """What all requests of one loaded model version share."""

    instance: ModelInstance
    codec: TensorCodec
    identity: Fields


class _Inference:
    """One request on its way through the batcher."""

    __slots__ = ("call", "id", "prepared", "shared", "ticket")

    ticket: Ticket

    def __init__(self, call: GrpcCall, prepared: _Prepared, request_id: str, shared: Shared) -> None:
        self.call = call
        self.prepared = prepared
        self.id = request_id
        self.shared = shared

    def done(self, outcome: Outcome) -> None:
        call = self.call
        try:
            if isinstance(outcome, RequestError):
                call.refuse(_impatient(outcome, call))
                return
            milliseconds = (self.shared.clock() - call.started) * 1000
            call.reply(*self.prepared.codec.encode(outcome, self.id, milliseconds))
        except Exception as error:
            call.fail(error)

    def cancel(self) -> None:
        self.prepared.instance.cancel(self.ticket)


class Infer(Method):
    """Counts every call as an inference request, whatever becomes of it, as the other transport does."""

    def __init__(self, plane: DataPlane, shared: Shared) -> None:
        self._plane = plane
        self._shared = shared
        self._prepared: dict[int, _Prepared] = {}

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        """See `Method.message`."""
        message, raw = parse_infer(data)
        prepared = self._of(message.model_name, message.model_version, call)
        decoded = prepared.codec.decode(message, raw)
        if decoded.timeout is not None and call.started + decoded.timeout < call.deadline:
            call.deadline = call.started + decoded.timeout
            call.impatient = True
        inference = _Inference(call, prepared, message.id, self._shared)
        try:
            inference.ticket = prepared.instance.submit(decoded.request, call.deadline, inference.done)
        except RequestError as error:
            raise _impatient(error, call) from None
        call.on_gone = inference.cancel

    def foresee(self, call: GrpcCall, size: int, start: bytes) -> None:
        """See `Method.foresee`."""
        name = _first_text(start)
        if name is not None:
            self._plane.find(name).admit(size, call.deadline)

    def over(self, call: GrpcCall, code: int) -> None:
        """See `Method.over`."""
        metrics = call.state
        if metrics is None:
            metrics = self._plane.metrics_of(None)
        assert isinstance(metrics, ModelMetrics)
        metrics.request(code, self._shared.clock() - call.started)

    def _of(self, name: str, version: str, call: GrpcCall) -> _Prepared:
        if not name:
            name = self._plane.find(None).model.name
        try:
            instance = self._plane.find(name, version or None)
        except RequestError:
            call.state = self._plane.metrics_of(name)
            raise
        prepared = self._prepared.get(id(instance))
        if prepared is None or prepared.instance is not instance:
            prepared = self._prepare(instance)
        call.state = instance.metrics
        call.identity = prepared.identity
        return prepared

    def _prepare(self, instance: ModelInstance) -> _Prepared:
        # Models that were unloaded leave with the rest; what still serves is soon prepared again.
        if len(self._prepared) >= _MOST_PREPARED:
            self._prepared.clear()
        version = (VERSION_METADATA, instance.model.version.encode("latin-1", "replace"))
        prepared = _Prepared(instance, TensorCodec(instance.model), (*self._shared.identity, version))
        self._prepared[id(instance)] = prepared
        return prepared


def _impatient(error: RequestError, call: GrpcCall) -> RequestError:
    """A client that cannot wait says nothing about the model: its own deadline counts as its own fault."""
    if not call.impatient or error.code not in (Code.DEADLINE_EXCEEDED, Code.WOULD_BE_LATE):
        return error
    seconds = call.deadline - call.started
    return RequestError(
        Code.CLIENT_DEADLINE_EXCEEDED,
        f"the model did not answer within the {seconds:g} s that the request allows; allow more",
    )


def _first_text(start: bytes) -> str | None:
    """Field 1 of a message, the model's name, when it is what the message begins with and short."""
    if len(start) < 2 or start[0] != 0x0A or start[1] >= 0x80 or len(start) < 2 + start[1]:
        return None
    return start[2 : 2 + start[1]].decode("utf-8", "replace")
