"""A call that is over leaves nothing for the garbage collector, which would let tensors pile up between its passes."""

import gc
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
from haldane_runtime.protocol.grpc.frames import ErrorCode
from haldane_runtime.protocol.grpc.limits import Limits
from haldane_runtime.protocol.grpc.schema import ModelInferRequest
from haldane_runtime.protocol.grpc.server import GrpcServer

FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    ("content-type", "application/grpc"),
]
SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N",)),), (TensorSpec("y", Datatype.FP32, ("N",)),))
MODEL = ServedModel("m", "1", "0" * 64, "cpu", SIGNATURE)


class Instance:
    """Keeps what is submitted as the batcher's tickets do, until `end`."""

    def __init__(self) -> None:
        self.model = MODEL
        self.metrics = ModelMetrics()
        self.waiting: list[Any] = []

    def submit(self, request: Any, deadline: float, done: Any) -> Any:
        self.waiting.append(SimpleNamespace(request=request, done=done))
        return self.waiting[-1]

    def cancel(self, ticket: Any) -> None:
        self.waiting.remove(ticket)

    def end(self, outcome: Any) -> None:
        for ticket in self.waiting:
            ticket.done(outcome)
        self.waiting.clear()


@pytest.mark.parametrize("ending", ["answer", "error", "reset", "lost"])
def test_no_cycles_are_left(ending: str) -> None:
    instance = Instance()
    plane: Any = SimpleNamespace(
        watch=None,
        instances=[instance],
        metrics=SimpleNamespace(revision="r"),
        find=lambda *_: instance,
        metrics_of=lambda _: instance.metrics,
    )
    repository: Any = None
    server = GrpcServer(plane, repository, Limits(), 10.0)
    connection = Connection(server, Limits(), 0.0, lambda: None)
    connection.receive(frames.PREFACE + frames.settings({}), 0.0)
    made = ModelInferRequest(model_name="m")
    made.inputs.add(name="x", datatype="FP32", shape=(3,))
    made.raw_input_contents.append(bytes(12))
    message = made.SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    encoder = hpack.Encoder()
    outcomes: dict[str, Any] = {
        "answer": InferResponse(MODEL, {"y": np.zeros(3, np.float32)}, 0.0, 0.0),
        "error": RequestError(Code.MODEL_FAILED, "it broke"),
    }
    gc.collect()
    gc.disable()
    try:
        for number in range(1, 401, 2):
            block = encoder.encode(FIELDS)
            connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, number, block), 0.0)
            connection.receive(frames.frame(frames.DATA, frames.END_STREAM, number, body), 0.0)
            assert len(instance.waiting) == 1 or ending == "lost"
            if ending == "reset":
                connection.receive(frames.rst_stream(number, ErrorCode.CANCEL), 0.0)
            elif ending in outcomes:
                instance.end(outcomes[ending])
        connection.lost()
        assert not instance.waiting
        assert gc.collect() < 100
    finally:
        gc.enable()
