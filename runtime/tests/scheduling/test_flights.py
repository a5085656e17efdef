"""Runs at the same time, on a clock that stands still until it is moved."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, TensorSpec
from haldane_runtime.scheduling.flights import Flights, Landed
from haldane_runtime.scheduling.ticket import Ticket

LATER = 30.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Gated:
    """Each run waits for the gate that is named by its input."""

    signature = ModelSignature((TensorSpec("x", Datatype.FP32, (1,)),), (TensorSpec("y", Datatype.FP32, (1,)),))
    device = "cpu"

    def __init__(self) -> None:
        self.gates = [threading.Event() for _ in range(4)]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        assert self.gates[int(inputs["x"][0])].wait(LATER)
        return {"y": inputs["x"]}

    def close(self) -> None: ...


class Sky:
    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = Gated()
        self.landed: asyncio.Queue[Landed] = asyncio.Queue()
        self.flights = Flights(self.engine, 2, self.landed.put_nowait, self.clock)

    def launch(self, gate: int, expected: float) -> None:
        request = InferRequest({"x": np.array([gate], np.float32)}, ("y",))
        self.flights.launch([Ticket(request, LATER, lambda _: None, 0.0, 1, None, 4)], expected)

    async def land(self, gate: int) -> Landed:
        self.engine.gates[gate].set()
        return await asyncio.wait_for(self.landed.get(), LATER)


async def test_a_run_alone_has_all_of_the_engine() -> None:
    sky = Sky()
    sky.launch(0, 4.0)
    assert sky.flights.busy_until() == 104.0
    assert not sky.flights.full
    sky.clock.now += 1.0
    assert sky.flights.busy_until() == 104.0
    sky.clock.now += 2.0
    landed = await sky.land(0)
    assert landed.share == 1.0
    assert landed.run.outputs is not None
    assert not sky.flights
    assert sky.flights.busy_until() == 0.0
    assert sky.flights.stop(LATER)


async def test_two_runs_share_the_engine() -> None:
    """The first runs alone for 2 s, both for 4 s, the second alone for 1 s."""
    sky = Sky()
    sky.launch(0, 4.0)
    sky.clock.now += 2.0
    sky.launch(1, 3.0)
    assert sky.flights.full
    assert sky.flights.busy_until() == 102.0 + 2.0 + 3.0
    sky.clock.now += 4.0
    assert sky.flights.busy_until() == 107.0
    first = await sky.land(0)
    assert first.share == pytest.approx((2.0 + 2.0) / 6.0)
    assert sky.flights.busy_until() == 107.0
    sky.clock.now += 1.0
    second = await sky.land(1)
    assert second.share == pytest.approx((2.0 + 1.0) / 5.0)
    assert sky.flights.stop(LATER)


async def test_threads_are_kept_for_the_next_runs() -> None:
    sky = Sky()
    for _ in range(3):
        sky.launch(0, 1.0)
        await sky.land(0)
    running = [thread for thread in threading.enumerate() if thread.name == "engine"]
    assert len(running) == 1
    assert sky.flights.stop(LATER)
    assert not running[0].is_alive()


async def test_a_thread_that_cannot_be_had_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    sky = Sky()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            sky.launch(0, 1.0)
    assert not sky.flights
    assert sky.flights.alive
    sky.launch(0, 1.0)
    assert (await sky.land(0)).share == 1.0
    assert sky.flights.stop(LATER)
