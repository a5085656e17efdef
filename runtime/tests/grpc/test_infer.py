"""Whose fault a late answer is, and from when on its time counts, by a clock of the tests' own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hpack
import numpy as np
import pytest

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Datatype, InferResponse, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.connection import Connection
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.schema import ModelInferRequest
from haldane_runtime.protocol.grpc.server import GrpcServer

FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    ("content-type", "application/grpc"),
]
MODEL = ServedModel(
    "m",
    "1",
    "0" * 64,
    "cpu",
    ModelSignature((TensorSpec("x", Datatype.FP32, ("N",)),), (TensorSpec("y", Datatype.FP32, ("N",)),)),
)
TIMEOUT = 10.0


class Upload:
    """One call whose message, of 4000 bytes and a few, comes in two parts, to a server that notes what is submitted."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        self.now = 0.0
        self.metrics = ModelMetrics()
        self.answer: Callable[[Any], None] | None = None
        self.admits: RequestError | None = None
        plane: Any = SimpleNamespace(
            watch=None,
            instances=[self],
            metrics=SimpleNamespace(revision="r"),
            find=lambda *_: self,
            metrics_of=lambda _: self.metrics,
        )
        self.model = MODEL
        repository: Any = None
        server = GrpcServer(plane, repository, Limits(), TIMEOUT, lambda: self.now)
        self.connection = Connection(server, Limits(), 0.0, lambda: None)
        self.connection.receive(frames.PREFACE + frames.settings({}), 0.0)
        block = hpack.Encoder().encode([*FIELDS, *fields])
        self.connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block), 0.0)
        made = ModelInferRequest(model_name="m")
        made.inputs.add(name="x", datatype="FP32", shape=(1000,))
        made.raw_input_contents.append(bytes(4000))
        message = made.SerializeToString()
        self.body = b"\0" + len(message).to_bytes(4, "big") + message

    def submit(self, request: Any, deadline: float, done: Any) -> Any:
        self.answer = done
        return object()

    def cancel(self, ticket: Any) -> None:
        pass

    def admit(self, nbytes: int, deadline: float) -> None:
        if self.admits is not None:
            raise self.admits

    def send(self, begun: float, ended: float) -> None:
        self.connection.receive(frames.frame(frames.DATA, 0, 1, self.body[:1000]), begun)
        self.now = ended
        self.connection.receive(frames.frame(frames.DATA, frames.END_STREAM, 1, self.body[1000:]), ended)

    def end(self, at: float, outcome: Any) -> None:
        self.now = at
        assert self.answer is not None
        self.answer(outcome)

    @property
    def counted(self) -> tuple[dict[int, int], float]:
        """The codes that were counted, and the seconds that they took together."""
        return {code: count for code, count in self.metrics.requests.items() if count}, self.metrics.duration.sum


def test_the_time_to_send_a_message_is_not_the_models() -> None:
    upload = Upload()
    upload.send(0.0, 4.0)
    upload.end(4.5, InferResponse(MODEL, {"y": np.zeros(3, np.float32)}, 0.0, 0.0))
    assert upload.counted == ({200: 1}, 0.5)


@pytest.mark.parametrize("code", [Code.DEADLINE_EXCEEDED, Code.WOULD_BE_LATE])
@pytest.mark.parametrize(("ended", "own"), [(4.0, False), (6.0, True)])
def test_a_deadline_that_a_slow_message_took_is_the_clients(code: Code, ended: float, own: bool) -> None:
    upload = Upload()
    upload.send(0.0, ended)
    upload.end(10.0, RequestError(code, "late"))
    expected = 408 if own else {Code.DEADLINE_EXCEEDED: 504, Code.WOULD_BE_LATE: 503}[code]
    assert upload.counted == ({expected: 1}, 10.0 - ended)


@pytest.mark.parametrize("fields", [(), (("grpc-timeout", "2S"),)])
def test_a_message_that_never_comes_is_the_clients_fault(fields: tuple[tuple[str, str], ...]) -> None:
    upload = Upload(*fields)
    upload.connection.receive(frames.frame(frames.DATA, 0, 1, upload.body[:1000]), 1.0)
    upload.now = 2.5 if fields else 10.5
    upload.connection.tick(upload.now)
    assert upload.counted == ({408: 1}, upload.now)


def test_a_client_that_cannot_wait_is_told_so_before_its_message_is_read() -> None:
    upload = Upload(("grpc-timeout", "10m"))
    upload.admits = RequestError(Code.WOULD_BE_LATE, "late", 1.0)
    upload.connection.receive(frames.frame(frames.DATA, 0, 1, upload.body[:1000]), 0.0)
    assert upload.counted[0] == {408: 1}
