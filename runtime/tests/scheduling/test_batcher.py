"""The batcher on a real loop, with an engine that is held by a gate: no sleeps, no races."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.policy import Limits
from haldane_runtime.scheduling.ticket import Outcome

LATER = 30.0
SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", "")),), (TensorSpec("y", Datatype.FP32, ("N", "")),))
MODEL = ServedModel("m", "1", "0" * 64, "cpu", SIGNATURE)
LONG, SHORT = {1: 1.0}, {1: 1e-5}


class Gated:
    """y = x; fails on a negative value; `batches` holds the first column of each run."""

    signature = SIGNATURE
    device = "cpu"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[float]] = []
        self.threads: set[str] = set()
        self.closed = False
        self.wrong_rows = False
        self.inside = self.most = 0
        self._counting = threading.Condition()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.entered.set()
        with self._counting:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._counting.notify_all()
        assert self.gate.wait(LATER)
        with self._counting:
            self.inside -= 1
        x = inputs["x"]
        self.batches.append(x[:, 0].tolist())
        self.threads.add(threading.current_thread().name)
        if (x < 0).any():
            raise RequestError(Code.MODEL_FAILED, f"cannot take {x.min():g}")
        return {"y": x[:1] if self.wrong_rows else x}

    def wait_for(self, runs: int) -> None:
        with self._counting:
            assert self._counting.wait_for(lambda: self.inside >= runs, LATER)

    def close(self) -> None:
        self.closed = True


class Harness:
    def __init__(
        self,
        limits: Limits | None = None,
        seconds: Mapping[int, float] | None = None,
        runs: int = 1,
        fixed_cost: bool = True,
    ) -> None:
        self.engine = Gated()
        self.metrics = ModelMetrics()
        profile = BatchProfile(runs == 1, "proved", 64, LONG if seconds is None else seconds, runs, fixed_cost)
        self.batcher = Batcher(MODEL, self.engine, profile, limits or Limits(), self.metrics)

    def ask(self, *values: float, columns: int = 1, seconds: float = LATER) -> "asyncio.Future[Outcome]":
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        x = np.repeat(np.array(values, np.float32).reshape(-1, 1), columns, axis=1)
        self.batcher.submit(InferRequest({"x": x}, ("y",)), time.monotonic() + seconds, answer.set_result)
        return answer

    async def entered(self, runs: int) -> None:
        await asyncio.to_thread(self.engine.wait_for, runs)

    async def held(self) -> "asyncio.Future[Outcome]":
        """A request that the engine is busy with."""
        first = self.ask(0)
        await asyncio.to_thread(self.engine.entered.wait, LATER)
        return first


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    yield harness
    harness.engine.gate.set()
    harness.batcher.close(LATER)


async def values(*answers: "asyncio.Future[Outcome]") -> list[list[float]]:
    outcomes = await asyncio.wait_for(asyncio.gather(*answers), LATER)
    for outcome in outcomes:
        assert not isinstance(outcome, RequestError), outcome.message
    return [outcome.outputs["y"][:, 0].tolist() for outcome in outcomes if not isinstance(outcome, RequestError)]


async def test_what_comes_while_the_engine_is_busy_goes_together(harness: Harness) -> None:
    first = await harness.held()
    others = [harness.ask(1), harness.ask(2, 3), harness.ask(4)]
    harness.engine.gate.set()
    assert await values(first, *others) == [[0], [1], [2, 3], [4]]
    assert harness.engine.batches == [[0], [1, 2, 3, 4]]
    assert harness.metrics.batch_rows.sum == 5


async def test_only_equal_trailing_shapes_merge_and_the_oldest_goes_first(harness: Harness) -> None:
    first = await harness.held()
    others = [harness.ask(1), harness.ask(2, columns=3), harness.ask(3), harness.ask(4, columns=3)]
    harness.engine.gate.set()
    assert await values(first, *others) == [[0], [1], [2], [3], [4]]
    assert harness.engine.batches == [[0], [1, 3], [2, 4]]


async def test_a_batch_holds_at_most_its_rows_and_a_larger_request_runs_alone() -> None:
    harness = Harness(Limits(max_rows=4))
    first = await harness.held()
    others = [harness.ask(1, 1, 1), harness.ask(2, 2), harness.ask(*[3] * 9), harness.ask(4)]
    harness.engine.gate.set()
    await values(first, *others)
    assert harness.engine.batches == [[0], [1, 1, 1], [2, 2], [3] * 9, [4]]
    harness.batcher.close(LATER)


async def test_a_model_without_batches_has_as_many_runs_at_once_as_pay() -> None:
    harness = Harness(runs=2)
    answers = [harness.ask(value) for value in range(5)]
    await harness.entered(2)
    # One lies ready.
    assert harness.batcher.queued.requests == 2
    # What runs is foreseen as the work of both.
    assert harness.batcher.queued.busy_until > time.monotonic() + 1.0
    harness.engine.gate.set()
    assert await values(*answers) == [[0], [1], [2], [3], [4]]
    assert sorted(harness.engine.batches) == [[0], [1], [2], [3], [4]]
    assert harness.engine.most == 2
    assert harness.batcher.idle
    harness.batcher.close(LATER)
    assert harness.engine.closed


async def test_deadlines_and_closing_reach_all_runs() -> None:
    harness = Harness(runs=2)
    short, long = harness.ask(0, seconds=0.05), harness.ask(1)
    await harness.entered(2)
    late = await asyncio.wait_for(short, LATER)
    assert isinstance(late, RequestError)
    assert late.code is Code.DEADLINE_EXCEEDED
    threading.Timer(0.01, harness.engine.gate.set).start()
    harness.batcher.close(LATER)
    stopped = await asyncio.wait_for(long, LATER)
    assert isinstance(stopped, RequestError)
    assert harness.engine.closed


async def test_a_batch_holds_at_most_its_bytes() -> None:
    harness = Harness(Limits(batch_bytes=100))
    first = await harness.held()
    others = [harness.ask(1, columns=10), harness.ask(2, columns=10), harness.ask(3, columns=10)]
    others.append(harness.ask(4, 4, 4, columns=30))
    harness.engine.gate.set()
    await values(first, *others)
    assert harness.engine.batches == [[0], [1, 2], [3], [4, 4, 4]]
    harness.batcher.close(LATER)


async def test_one_bad_request_fails_alone(harness: Harness) -> None:
    first = await harness.held()
    others = [harness.ask(value) for value in (1, 2, -3, 4, 5)]
    harness.engine.gate.set()
    outcomes = await asyncio.wait_for(asyncio.gather(first, *others), LATER)
    failed = [outcome.message for outcome in outcomes if isinstance(outcome, RequestError)]
    assert failed == ["cannot take -3"]
    assert isinstance(outcomes[3], RequestError)
    assert [batch for batch in harness.engine.batches if -3 not in batch] == [[0], [1, 2], [4, 5]]


async def test_outputs_without_the_rows_end_the_merging(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    first = await harness.held()
    harness.engine.wrong_rows = True
    others = [harness.ask(1), harness.ask(2)]
    harness.engine.gate.set()
    assert await values(first, *others) == [[0], [1], [2]]
    assert harness.engine.batches == [[0], [1, 2], [1], [2]]
    again = [harness.ask(3), harness.ask(4)]
    assert await values(*again) == [[3], [4]]
    assert harness.engine.batches[4:] == [[3], [4]]
    assert "do not have its rows" in caplog.text


async def test_a_run_that_has_proved_to_be_short_goes_in_the_loops_own_thread() -> None:
    harness = Harness(seconds=SHORT)
    harness.engine.gate.set()
    assert await values(harness.ask(1), harness.ask(2)) == [[1], [2]]
    assert harness.engine.threads == {"engine"}
    harness.engine.threads.clear()
    assert await values(harness.ask(3), harness.ask(4)) == [[3], [4]]
    assert harness.engine.threads == {threading.current_thread().name}
    # The same rows of ten times the size prove nothing yet.
    harness.engine.threads.clear()
    assert await values(harness.ask(5, 6, columns=10)) == [[5, 6]]
    assert harness.engine.threads == {"engine"}
    assert harness.engine.batches == [[1, 2], [3, 4], [5, 6]]
    harness.batcher.close(LATER)
    assert harness.engine.closed


async def test_a_run_that_may_take_any_time_never_goes_in_the_loops_own_thread() -> None:
    harness = Harness(seconds=SHORT, fixed_cost=False)
    harness.engine.gate.set()
    for _ in range(20):
        assert await values(harness.ask(1)) == [[1]]
    assert harness.engine.threads == {"engine"}
    harness.batcher.close(LATER)


async def test_a_thread_that_cannot_be_started_fails_the_requests_of_that_moment_alone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", exhausted)
        outcomes = await asyncio.wait_for(asyncio.gather(harness.ask(1), harness.ask(2)), LATER)
    for outcome in outcomes:
        assert isinstance(outcome, RequestError)
        assert "can't start new thread" in outcome.message
    harness.engine.gate.set()
    assert await values(harness.ask(3)) == [[3]]


async def test_who_hears_of_a_missed_deadline_may_ask_again_at_once() -> None:
    """The next request must not start a second run beside the first."""
    harness = Harness(seconds={})
    first = await harness.held()
    again: list[asyncio.Future[Outcome]] = []

    def impatient(_: Outcome) -> None:
        again.append(harness.ask(3))

    request = InferRequest({"x": np.ones((1, 1), np.float32)}, ("y",))
    late = harness.batcher.submit(request, time.monotonic() + LATER, impatient)
    second = harness.ask(2, columns=2)
    late.deadline = 0.0
    harness.engine.gate.set()
    assert await values(first, second) == [[0], [2]]
    assert await values(*again) == [[3]]
    assert sorted(harness.engine.batches) == [[0], [2], [3]]
    harness.batcher.close(LATER)


async def test_a_long_run_goes_in_a_thread_of_its_own(harness: Harness) -> None:
    harness.engine.gate.set()
    await values(harness.ask(1))
    assert harness.engine.threads == {"engine"}


async def test_a_deadline_is_kept_while_the_engine_is_busy() -> None:
    harness = Harness(seconds={})
    first = await harness.held()
    late = harness.ask(1, seconds=0.05)
    running_late = await asyncio.wait_for(late, LATER)
    assert isinstance(running_late, RequestError)
    assert running_late.code is Code.DEADLINE_EXCEEDED
    assert harness.batcher.queued.requests == 0
    harness.engine.gate.set()
    assert await values(first) == [[0]]
    assert harness.engine.batches == [[0]]
    harness.batcher.close(LATER)


async def test_a_deadline_is_kept_for_what_runs() -> None:
    harness = Harness()
    running = harness.ask(1, seconds=0.05)
    outcome = await asyncio.wait_for(running, LATER)
    assert isinstance(outcome, RequestError)
    assert outcome.code is Code.DEADLINE_EXCEEDED
    harness.engine.gate.set()
    harness.batcher.close(LATER)


async def test_a_withdrawn_request_frees_its_place(harness: Harness) -> None:
    first = await harness.held()
    request = InferRequest({"x": np.ones((2, 1), np.float32)}, ("y",))
    ticket = harness.batcher.submit(request, time.monotonic() + LATER, unexpected)
    assert (harness.batcher.queued.requests, harness.batcher.queued.rows, harness.batcher.queued.bytes) == (1, 2, 8)
    harness.batcher.cancel(ticket)
    harness.batcher.cancel(ticket)
    assert (harness.batcher.queued.requests, harness.batcher.queued.rows, harness.batcher.queued.bytes) == (0, 0, 0)
    harness.engine.gate.set()
    await values(first)
    assert harness.engine.batches == [[0]]


def unexpected(_: Outcome) -> None:
    pytest.fail("a withdrawn request was answered")


async def test_what_the_queue_delay_does_not_allow_is_refused() -> None:
    harness = Harness(Limits(queue_delay=0.5), LONG)
    first = await harness.held()
    with pytest.raises(RequestError, match=r"longer than the 0\.5 s") as caught:
        harness.ask(1)
    assert caught.value.retry_after is not None
    assert harness.metrics.refusals == 1
    harness.engine.gate.set()
    await values(first)
    harness.batcher.close(LATER)


async def test_a_refusal_that_is_only_foreseen_is_not_counted() -> None:
    harness = Harness(Limits(requests=1))
    first = await harness.held()
    waiting = harness.ask(1)
    instance = ModelInstance(MODEL, BatchProfile(True, "proved", 64, LONG), harness.batcher, harness.metrics)
    with pytest.raises(RequestError, match="the queue is full"):
        instance.foresee(4, time.monotonic() + LATER)
    assert harness.metrics.refusals == 0
    with pytest.raises(RequestError, match="the queue is full"):
        instance.admit(4, time.monotonic() + LATER)
    assert harness.metrics.refusals == 1
    harness.engine.gate.set()
    await values(first, waiting)
    instance.foresee(4, time.monotonic() + LATER)
    harness.batcher.close(LATER)
    with pytest.raises(RequestError, match="being unloaded"):
        instance.foresee(4, time.monotonic() + LATER)


async def test_a_batch_may_wait_for_company() -> None:
    harness = Harness(Limits(max_delay=0.5, max_rows=3), SHORT)
    harness.engine.gate.set()
    first = harness.ask(1)
    await asyncio.sleep(0.01)
    second = harness.ask(2)
    assert await values(first, second) == [[1], [2]]
    full = [harness.ask(value) for value in (3, 4, 5)]
    await values(*full)
    assert harness.engine.batches == [[1, 2], [3, 4, 5]]
    harness.batcher.close(LATER)


async def test_a_batch_that_is_full_waits_for_nobody() -> None:
    for limits in (Limits(max_delay=LATER, max_rows=3), Limits(max_delay=LATER, requests=3)):
        harness = Harness(limits, SHORT)
        harness.engine.gate.set()
        first = harness.ask(1, seconds=10 * LATER)
        await asyncio.sleep(0.01)
        assert not harness.engine.batches
        others = [harness.ask(value, seconds=10 * LATER) for value in (2, 3)]
        assert await asyncio.wait_for(values(first, *others), LATER / 3) == [[1], [2], [3]]
        assert harness.engine.batches == [[1, 2, 3]]
        harness.batcher.close(LATER)


async def test_a_batch_waits_no_longer_than_its_deadlines_allow() -> None:
    harness = Harness(Limits(max_delay=LATER), SHORT)
    harness.engine.gate.set()
    assert await values(harness.ask(1, seconds=0.1)) == [[1]]
    patient = harness.ask(2, seconds=10 * LATER)
    await asyncio.sleep(0.01)
    hurried = harness.ask(3, seconds=0.1)
    assert await values(patient, hurried) == [[2], [3]]
    assert harness.engine.batches == [[1], [2, 3]]
    harness.batcher.close(LATER)


async def test_nobody_is_waited_for_once_the_end_has_come() -> None:
    harness = Harness(Limits(max_delay=LATER), SHORT)
    harness.engine.gate.set()
    first = harness.ask(1, seconds=10 * LATER)
    await asyncio.sleep(0.01)
    await asyncio.wait_for(harness.batcher.finish(), LATER / 3)
    assert await values(first) == [[1]]
    harness.batcher.close(LATER)


async def test_an_end_lets_what_waits_finish_and_takes_nothing_new(harness: Harness) -> None:
    first = await harness.held()
    waiting = harness.ask(1)
    ending = asyncio.create_task(harness.batcher.finish())
    await asyncio.sleep(0)
    with pytest.raises(RequestError, match="being unloaded"):
        harness.ask(2)
    assert not ending.done()
    harness.engine.gate.set()
    await asyncio.wait_for(ending, LATER)
    assert await values(first, waiting) == [[0], [1]]
    await asyncio.wait_for(harness.batcher.finish(), LATER)


async def test_a_close_answers_what_waits(harness: Harness) -> None:
    await harness.held()
    waiting = harness.ask(1)
    harness.batcher.close(0.0)
    outcome = await asyncio.wait_for(waiting, LATER)
    assert isinstance(outcome, RequestError)
    assert "stopping" in outcome.message


async def test_a_fault_in_one_answers_way_out_costs_no_other(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    first = await harness.held()

    def broken(_: Outcome) -> None:
        raise ZeroDivisionError

    request = InferRequest({"x": np.ones((1, 1), np.float32)}, ("y",))
    harness.batcher.submit(request, time.monotonic() + LATER, broken)
    second = harness.ask(2)
    harness.engine.gate.set()
    assert await values(first, second) == [[0], [2]]
    assert "could not be delivered" in caplog.text


async def test_answers_do_not_wait_for_what_is_counted_of_their_run(harness: Harness) -> None:
    harness.engine.gate.set()
    counted: list[float] = []
    x = np.ones((1, 1), np.float32)
    done = asyncio.Event()

    def deliver(_: Outcome) -> None:
        counted.append(harness.metrics.batch_rows.sum)
        done.set()

    for turn in range(3):  # in the engine's thread, then inline
        done.clear()
        harness.batcher.submit(InferRequest({"x": x}, ("y",)), time.monotonic() + LATER, deliver)
        await asyncio.wait_for(done.wait(), LATER)
        assert harness.metrics.batch_rows.sum == turn + 1, "counted in the same turn of the loop"
    assert counted == [0, 1, 2]
