"""Text counts by its length, wherever bytes decide: an array of it holds references alone."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import (
    Array,
    Datatype,
    InferRequest,
    ModelSignature,
    ServedModel,
    TensorSpec,
    tensor_bytes,
)
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.policy import Limits
from haldane_runtime.scheduling.ticket import Outcome

LATER = 30.0
SIGNATURE = ModelSignature((TensorSpec("x", Datatype.BYTES, ("N",)),), (TensorSpec("y", Datatype.BYTES, ("N",)),))
MODEL = ServedModel("m", "1", "0" * 64, "cpu", SIGNATURE)
HERE = threading.current_thread().name


def texts(*elements: object) -> Array:
    return np.array(elements, np.object_)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([], 0),
        ([np.zeros((2, 3), np.float32)], 24),
        ([np.zeros(2, np.uint8), np.zeros(1, np.int64)], 10),
        ([texts("word", b"bytes", "")], 3 * 8 + 9),
        ([texts("a" * 1000, "b", "c", "d").reshape(2, 2)], 4 * 8 + 1003),
        ([texts("abc").reshape(())], 8 + 3),
        ([np.zeros((0, 3), np.object_)], 0),
        ([texts("a", 1)], 16),
    ],
)
def test_the_size_of_tensors(tensors: list[Array], expected: int) -> None:
    assert tensor_bytes(tensors) == expected


class Echo:
    """y = x, at once or when `gate` opens; `threads` ran it."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self.threads: list[str] = []

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(LATER)
        self.threads.append(threading.current_thread().name)
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Echo]:
    engine = Echo()
    yield engine
    engine.gate.set()


def opened(engine: Echo, limits: Limits) -> Batcher:
    profile = BatchProfile(True, "proved", 64, {1: 1e-5, 64: 1e-5}, fixed_cost=True)
    return Batcher(MODEL, engine, profile, limits, ModelMetrics())


def ask(batcher: Batcher, *elements: str) -> "asyncio.Future[Outcome]":
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    batcher.submit(InferRequest({"x": texts(*elements)}, ("y",)), time.monotonic() + LATER, answer.set_result)
    return answer


async def test_a_word_proves_nothing_about_a_long_text(engine: Echo) -> None:
    engine.gate.set()
    batcher = opened(engine, Limits())
    for element in ("a", "a", "a" * 100_000):
        await asyncio.wait_for(ask(batcher, element), LATER)
    assert engine.threads == ["engine", HERE, "engine"]
    batcher.close(LATER)


async def test_text_that_waits_is_bounded_by_its_length(engine: Echo) -> None:
    batcher = opened(engine, Limits(bytes=1000, batch_bytes=500))
    first = ask(batcher, "a")
    await asyncio.to_thread(engine.entered.wait, LATER)
    waiting = [ask(batcher, "b" * 300) for _ in range(3)]
    with pytest.raises(RequestError, match="1000 bytes"):
        ask(batcher, "c" * 300)
    engine.gate.set()
    await asyncio.wait_for(asyncio.gather(first, *waiting), LATER)
    assert engine.batches == [1, 1, 1, 1]
    batcher.close(LATER)
