"""The inference routes in one process, with an engine that waits until it is told to go on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import Request

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.disconnect import while_connected
from haldane_runtime.protocol.frame import CLIENT_CLOSED_REQUEST
from haldane_runtime.protocol.http import create_app
from haldane_runtime.scheduling.policy import Limits

SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N",)),), (TensorSpec("y", Datatype.FP32, ("N",)),))
MODEL = ServedModel("fraud", "7", "d" * 64, "cpu", SIGNATURE)
WAIT = 30.0
BODY = b'{"instances": [1]}'


class Gated:
    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(WAIT)
        return dict.fromkeys(outputs, inputs["x"])

    def close(self) -> None: ...


@pytest.fixture
def engine() -> Gated:
    return Gated()


@pytest.fixture
async def plane(engine: Gated) -> AsyncIterator[DataPlane]:
    plane = DataPlane(Metrics("payments", "abc"), Limits(requests=1), "fraud")
    plane.add(MODEL, engine, BatchProfile(False, "a test runs its requests one by one", 1, {}))
    plane.serve()
    yield plane
    engine.gate.set()
    plane.close(WAIT)


def client(plane: DataPlane, request_timeout: float) -> httpx.AsyncClient:
    app = create_app(plane, 1000, request_timeout)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize(
    ("server", "header", "status", "message"),
    [
        (WAIT, "0.3", 408, "within the 0.3 s that x-request-timeout allows"),
        (0.3, None, 504, "within the request's deadline"),
        (0.3, "0.3", 504, "within the request's deadline"),
        (0.3, "60", 504, "within the request's deadline"),
    ],
)
async def test_the_status_tells_whose_deadline_passed(
    plane: DataPlane, server: float, header: str | None, status: int, message: str
) -> None:
    async with client(plane, server) as http:
        headers = {"x-request-timeout": header} if header else {}
        answer = await http.post("/v1/predict", content=BODY, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]


async def test_a_full_queue_refuses_before_the_body_is_read(plane: DataPlane, engine: Gated) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield BODY

    async with client(plane, WAIT) as http:
        running = asyncio.create_task(http.post("/v1/predict", content=BODY))
        await asyncio.to_thread(engine.entered.wait, WAIT)
        tensors = InferRequest({"x": np.ones(1, np.float32)}, ("y",))
        waiting = asyncio.create_task(plane.find().infer(tensors, time.monotonic() + WAIT))
        await asyncio.sleep(0)
        assert plane.find().batcher.queued.requests == 1
        refused = await http.post("/v1/predict", content=body())
        engine.gate.set()
        assert (await running).status_code == 200
        await waiting
        assert (await http.post("/v1/predict", content=body())).status_code == 200
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "the queue is full" in refused.json()["error"]
    assert read == [1]


async def test_a_client_that_leaves_takes_its_waiting_request_along(plane: DataPlane, engine: Gated) -> None:
    instance = plane.find()
    body = iter([{"type": "http.request", "body": BODY}])
    submitted, gone = asyncio.Event(), asyncio.Event()
    sent = []

    async def receive() -> dict[str, Any]:
        for message in body:
            return message
        submitted.set()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": []}
    async with client(plane, WAIT) as http:
        running = asyncio.create_task(http.post("/v1/predict", content=BODY))
        await asyncio.to_thread(engine.entered.wait, WAIT)
        leaving = asyncio.create_task(create_app(plane, 1000, WAIT)(scope, receive, send))
        await submitted.wait()
        assert instance.batcher.queued.requests == 1
        gone.set()
        await leaving
        assert instance.batcher.queued.requests == 0
        assert sent[0]["status"] == CLIENT_CLOSED_REQUEST
        assert instance.metrics.requests[CLIENT_CLOSED_REQUEST] == 1
        engine.gate.set()
        assert (await running).status_code == 200
    assert instance.metrics.ran_requests == 1


async def test_a_cancellation_from_outside_stays_one(plane: DataPlane, engine: Gated) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    work = plane.find().infer(InferRequest({"x": np.ones(1, np.float32)}, ("y",)), time.monotonic() + WAIT)
    waiting = asyncio.create_task(while_connected(Request({"type": "http"}, never), work))
    await asyncio.to_thread(engine.entered.wait, WAIT)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
