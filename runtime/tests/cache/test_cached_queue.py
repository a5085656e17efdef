"""The queue with a cache before it: deadlines and bounds while answers are looked up."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from haldane_runtime.cache import responses
from haldane_runtime.cache.responses import Outcome, ResponseCache
from haldane_runtime.core.cached import CachedQueue
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import (
    Array,
    Datatype,
    InferRequest,
    InferResponse,
    ModelSignature,
    ServedModel,
    TensorSpec,
)
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.policy import Limits

SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 1)),), (TensorSpec("y", Datatype.FP32, ("N", 1)),))
MODEL = ServedModel("m", "1", "digest", "cpu", SIGNATURE)


class Double:
    signature = SIGNATURE
    device = "cpu"

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        pass


class Silence:
    def run(self, seconds: float, rows: int, requests: int, waited: float) -> None:
        pass

    def nonfinite(self) -> None:
        pass

    def refused(self) -> None:
        pass


class Far:
    """A store that knows nothing, `seconds` away."""

    where = "far"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def connect(self) -> None:
        pass

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        await asyncio.sleep(self.seconds)
        return [None] * len(keys)

    async def write(self, entries: Sequence[tuple[bytes, bytes]], seconds: float) -> int:
        return 0

    async def disconnect(self) -> None:
        pass


async def outcomes(
    store: Far, number: int, seconds: float, counted: Counter[Outcome]
) -> list[tuple[InferResponse | RequestError, float]]:
    """What becomes of `number` different requests with `seconds` to their deadline, and after how long."""
    cache = ResponseCache(store, 60, lambda outcome: counted.update([outcome]))
    while not cache.usable:  # noqa: ASYNC110
        await asyncio.sleep(0)
    profile = BatchProfile(True, "", 64, {1: 0.0001, 64: 0.0005})
    batcher = Batcher(MODEL, Double(), profile, Limits(requests=number), Silence())
    queue = CachedQueue(MODEL, batcher, cache)
    started = time.monotonic()
    heard: list[asyncio.Future[tuple[InferResponse | RequestError, float]]] = []
    for n in range(number):
        future = asyncio.get_running_loop().create_future()
        heard.append(future)
        queue.submit(
            InferRequest({"x": np.full((1, 1), n, np.float32)}, ("y",)),
            started + seconds,
            lambda outcome, future=future: future.set_result((outcome, time.monotonic() - started)),  # type: ignore[misc]
        )
    try:
        async with asyncio.timeout(20):
            return await asyncio.gather(*heard)
    finally:
        await cache.close()
        batcher.close(1)


async def test_many_requests_before_a_far_store_go_to_the_engine_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses, "LOOKUP_SECONDS", 0.2)
    counted: Counter[Outcome] = Counter()
    found = await outcomes(Far(responses.LOOKUP_SECONDS * 0.6), 2000, 10, counted)
    assert all(isinstance(outcome, InferResponse) for outcome, _ in found)
    assert counted[Outcome.SKIPPED] >= 1900
    # Batch after batch they would take 3.75 s.
    assert max(seconds for _, seconds in found) < 2.5


async def test_a_deadline_holds_during_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "LOOKUP_SECONDS", 5.0)
    ((outcome, seconds),) = await outcomes(Far(3), 1, 0.05, Counter())
    assert isinstance(outcome, RequestError)
    assert outcome.code is Code.DEADLINE_EXCEEDED
    assert 0.05 <= seconds < 2
