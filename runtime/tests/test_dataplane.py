"""The data plane with an engine that waits until it is told to go on: no sleeps, no races."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.scheduling.policy import Limits

SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N",)),), (TensorSpec("y", Datatype.FP32, ("N",)),))
MODEL = ServedModel("fraud", "7", "d" * 64, "cpu", SIGNATURE)
SOON, LATER = 0.05, 30.0
ALONE = BatchProfile(False, "a test runs its requests one by one", 1, {})


class Gated:
    """y = x, once the gate is open."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.ran: list[float] = []
        self.failure: Exception | None = None

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(LATER)
        self.ran.append(float(inputs["x"][0]))
        if self.failure:
            raise self.failure
        return dict.fromkeys(outputs, inputs["x"])

    def close(self) -> None: ...


@pytest.fixture
def engine() -> Gated:
    return Gated()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("payments", "abc")


def serving(metrics: Metrics, engine: Gated) -> DataPlane:
    plane = DataPlane(metrics, Limits(requests=2), "fraud")
    plane.add(MODEL, engine, ALONE)
    plane.serve()
    return plane


def queued(plane: DataPlane) -> int:
    return plane.find().batcher.queued.requests


@pytest.fixture
async def plane(engine: Gated, metrics: Metrics) -> AsyncIterator[DataPlane]:
    plane = serving(metrics, engine)
    yield plane
    engine.gate.set()
    plane.close(LATER)


def infer(plane: DataPlane, value: float, seconds: float = LATER) -> asyncio.Task[Any]:
    request = InferRequest({"x": np.array([value], np.float32)}, ("y",))
    return asyncio.create_task(plane.find().infer(request, time.monotonic() + seconds))


async def entered(engine: Gated) -> None:
    await asyncio.to_thread(engine.entered.wait, LATER)


def sample(metrics: Metrics, name: str) -> float:
    lines = metrics.exposition().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name + "{")).rsplit(" ", 1)[1])


async def test_an_answer_carries_the_model_and_its_times(plane: DataPlane, engine: Gated) -> None:
    engine.gate.set()
    response = await infer(plane, 5)
    assert response.outputs["y"].tolist() == [5]
    assert response.model.version == "7"
    assert response.queue_seconds >= 0
    assert response.infer_seconds >= 0


async def test_a_full_queue_refuses_at_once(plane: DataPlane, engine: Gated) -> None:
    running = infer(plane, 1)
    await entered(engine)
    waiting = [infer(plane, 2), infer(plane, 3)]
    with pytest.raises(RequestError, match=r"the queue is full \(2 requests\)") as caught:
        await infer(plane, 4)
    assert caught.value.code is Code.UNAVAILABLE
    assert queued(plane) == 2
    engine.gate.set()
    await asyncio.gather(running, *waiting)
    assert engine.ran == [1, 2, 3]


async def test_a_late_request_is_answered_in_time_and_never_run(plane: DataPlane, engine: Gated) -> None:
    running = infer(plane, 1)
    await entered(engine)
    with pytest.raises(RequestError, match="did not answer within the request's deadline") as caught:
        await infer(plane, 2, SOON)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    engine.gate.set()
    await running
    await infer(plane, 3)
    assert engine.ran == [1, 3]


async def test_a_request_that_was_given_up_holds_no_place(plane: DataPlane, engine: Gated) -> None:
    running = infer(plane, 1)
    await entered(engine)
    for value in (2, 3):
        with pytest.raises(RequestError, match="did not answer"):
            await asyncio.gather(infer(plane, value, SOON))
    assert queued(plane) == 0
    waiting = [infer(plane, 4), infer(plane, 5)]
    await asyncio.sleep(0)
    assert queued(plane) == 2
    engine.gate.set()
    await asyncio.gather(running, *waiting)
    assert queued(plane) == 0
    assert engine.ran == [1, 4, 5]


async def test_a_cancelled_request_is_not_run(plane: DataPlane, engine: Gated) -> None:
    running = infer(plane, 1)
    await entered(engine)
    gone = infer(plane, 2)
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    engine.gate.set()
    await running
    await infer(plane, 3)
    assert engine.ran == [1, 3]


async def test_a_failing_engine_fails_its_request_only(plane: DataPlane, engine: Gated) -> None:
    engine.gate.set()
    engine.failure = ValueError("boom")
    with pytest.raises(RequestError, match="the engine failed: ValueError: boom") as caught:
        await infer(plane, 1)
    assert caught.value.code is Code.MODEL_FAILED
    engine.failure = None
    assert (await infer(plane, 2)).outputs["y"].tolist() == [2]
    assert plane.live


async def test_a_look_at_the_outputs_that_fails_costs_its_request_only(
    plane: DataPlane, engine: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(_: object) -> bool:
        raise MemoryError

    engine.gate.set()
    with monkeypatch.context() as patched:
        patched.setattr("haldane_runtime.scheduling.executor.all_finite", starved)
        with pytest.raises(RequestError, match="the engine failed: MemoryError") as caught:
            await infer(plane, 1)
    assert caught.value.code is Code.MODEL_FAILED
    assert (await infer(plane, 2)).outputs["y"].tolist() == [2]


async def test_without_its_engine_thread_a_plane_refuses_at_once(plane: DataPlane, engine: Gated) -> None:
    engine.gate.set()
    await infer(plane, 1)
    plane.find().batcher._flights._threads.alive = False
    assert not plane.live
    with pytest.raises(RequestError, match="the engine thread has ended") as caught:
        await infer(plane, 1)
    assert caught.value.code is Code.UNAVAILABLE
    assert queued(plane) == 0


async def test_an_answer_that_is_not_finite_is_counted(plane: DataPlane, engine: Gated, metrics: Metrics) -> None:
    engine.gate.set()
    await infer(plane, 1)
    assert sample(metrics, "haldane_nonfinite_outputs_total") == 0
    await infer(plane, float("inf"))
    assert sample(metrics, "haldane_nonfinite_outputs_total") == 1
    assert sample(metrics, "haldane_inference_seconds_count") == 2


async def test_a_run_that_outlives_its_waiter_is_measured(plane: DataPlane, engine: Gated, metrics: Metrics) -> None:
    running = infer(plane, float("inf"))
    await entered(engine)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    engine.gate.set()
    await infer(plane, 1)
    assert sample(metrics, "haldane_inference_seconds_count") == 2
    assert sample(metrics, "haldane_nonfinite_outputs_total") == 1


async def test_ready_only_between_the_load_and_the_drain(engine: Gated, metrics: Metrics) -> None:
    plane = DataPlane(metrics, Limits(requests=2), "fraud")
    assert (plane.ready, plane.live, plane.state) == (False, True, "loading")
    with pytest.raises(RequestError, match="still loading") as caught:
        plane.find("fraud")
    assert caught.value.code is Code.UNAVAILABLE
    plane.add(MODEL, engine, ALONE)
    plane.serve()
    assert (plane.ready, plane.state) == (True, "serving")
    plane.drain()
    assert (plane.ready, plane.live, plane.state) == (False, True, "draining")
    assert plane.find("fraud", "7").model is MODEL
    plane.close(LATER)


async def test_other_names_and_versions_are_unknown(engine: Gated, metrics: Metrics) -> None:
    plane = serving(metrics, engine)
    for name, version, message in (("spam", None, "unknown model 'spam'"), ("fraud", "8", "has no version '8'")):
        with pytest.raises(RequestError, match=message) as caught:
            plane.find(name, version)
        assert caught.value.code is Code.NOT_FOUND
    plane.close(LATER)
