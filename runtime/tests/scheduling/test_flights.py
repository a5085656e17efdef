"""Runs at the same time, on a clock that stands still until it is moved."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

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
        self.gates = [threading.Event() for _ in range(3)]
        self.inside = [threading.Event() for _ in range(3)]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        gate = int(inputs["x"][0])
        self.inside[gate].set()
        assert self.gates[gate].wait(LATER)
        return {"y": inputs["x"]}

    async def entered(self, gate: int) -> None:
        assert await asyncio.to_thread(self.inside[gate].wait, LATER)

    def close(self) -> None: ...


class Sky:
    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = Gated()
        self.landed: asyncio.Queue[Landed] = asyncio.Queue()
        self.flights = Flights(self.engine, 2, self.landed.put_nowait, self.clock)
        self.others = set(threading.enumerate())

    def launch(self, gate: int, expected: float) -> Ticket:
        request = InferRequest({"x": np.array([gate], np.float32)}, ("y",))
        ticket = Ticket(request, LATER, lambda _: None, 0.0, 1, None, 4)
        self.flights.launch([ticket], expected)
        return ticket

    def threads(self) -> int:
        """Those of the engine; other tests may have left some of theirs."""
        return [thread.name for thread in set(threading.enumerate()) - self.others].count("engine")

    async def land(self, gate: int) -> Landed:
        self.engine.gates[gate].set()
        return await asyncio.wait_for(self.landed.get(), LATER)


@pytest.fixture
async def sky() -> AsyncIterator[Sky]:
    made = Sky()
    yield made
    for gate in made.engine.gates:
        gate.set()
    assert made.flights.stop(LATER)


async def test_a_run_alone_has_all_of_the_engine(sky: Sky) -> None:
    sky.launch(0, 4.0)
    assert sky.flights.busy_until() == 104.0
    sky.clock.now += 1.0
    assert sky.flights.busy_until() == 104.0
    sky.clock.now += 2.0
    landed = await sky.land(0)
    assert landed.run is not None
    assert landed.run.outputs is not None
    assert not sky.flights
    assert sky.flights.busy_until() == 0.0


async def test_two_runs_share_the_engine(sky: Sky) -> None:
    """The first runs alone for 2 s, both for 4 s, the second alone for 1 s."""
    sky.launch(0, 4.0)
    await sky.engine.entered(0)
    sky.clock.now += 2.0
    sky.launch(1, 3.0)
    await sky.engine.entered(1)
    assert sky.flights.busy_until() == 102.0 + 2.0 + 3.0
    sky.clock.now += 4.0
    assert sky.flights.busy_until() == 107.0
    first = await sky.land(0)
    assert first.cost == pytest.approx(2.0 + 2.0)
    assert sky.flights.busy_until() == 107.0
    sky.clock.now += 1.0
    second = await sky.land(1)
    assert second.cost == pytest.approx(2.0 + 1.0)


async def test_one_lies_ready_for_the_first_thread_that_is_free(sky: Sky) -> None:
    for gate in range(3):
        assert not sky.flights.full
        sky.launch(gate, 2.0)
    assert sky.flights.full
    assert sky.threads() == 2
    assert sky.flights.busy_until() == 106.0
    await sky.engine.entered(0)
    await sky.engine.entered(1)
    assert not sky.engine.inside[2].is_set()
    await sky.land(0)
    await sky.engine.entered(2)


async def test_what_nobody_wants_any_more_is_not_run(sky: Sky) -> None:
    tickets = [sky.launch(gate, 2.0) for gate in range(3)]
    await sky.engine.entered(0)
    await sky.engine.entered(1)
    tickets[1].over = tickets[2].over = True
    await sky.land(0)
    landed = await asyncio.wait_for(sky.landed.get(), LATER)
    assert landed.batch == [tickets[2]]
    assert landed.run is None
    assert landed.cost == 0.0
    assert not sky.engine.inside[2].is_set()


async def test_threads_are_kept_for_the_next_runs(sky: Sky) -> None:
    for _ in range(3):
        sky.launch(0, 1.0)
        await sky.land(0)
    assert sky.threads() == 1


async def test_without_a_second_thread_runs_only_wait(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            sky.launch(0, 1.0)
    assert not sky.flights
    assert sky.flights.alive
    sky.launch(0, 1.0)
    await sky.engine.entered(0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        sky.launch(1, 1.0)
    assert sky.threads() == 1
    await sky.land(0)
    await sky.land(1)
