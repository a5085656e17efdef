from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from haldane_runtime.commands.measurement import (
    Cell,
    Together,
    measure,
    measure_together,
    recommend,
    served_rows_per_second,
    thread_counts,
)
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import Array, Datatype, ModelSignature, TensorSpec

SPEC = TensorSpec("x", Datatype.FP32, ("N", 2))
INPUTS = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}


class Engine:
    """Takes as long as its clock says: `row_seconds` for each row, shared by `threads`."""

    device = "cpu"
    signature = ModelSignature((SPEC,), (SPEC,))

    def __init__(self, clock: "Clock", threads: int, row_seconds: float, most_rows: int) -> None:
        self.clock, self.threads, self.row_seconds, self.most_rows = clock, threads, row_seconds, most_rows

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        rows = len(inputs["x"])
        if rows > self.most_rows:
            raise RequestError(Code.MODEL_FAILED, "too many rows")
        self.clock.now += rows * self.row_seconds / self.threads
        return {}

    def close(self) -> None:
        self.clock.open -= 1


class Clock:
    now = 0.0
    open = 0

    def __call__(self) -> float:
        return self.now


def cells(row_seconds: float, seconds: float, most_rows: int = 1024, rows: Sequence[int] = (1, 2, 4)) -> list[Cell]:
    clock = Clock()

    def open_with(threads: int) -> Engine:
        clock.open += 1
        return Engine(clock, threads, row_seconds, most_rows)

    found = measure(open_with, [1, 2], INPUTS, rows, seconds, clock)
    assert clock.open == 0
    assert clock.now <= seconds * 1.5 + 10 * row_seconds
    return found


def test_every_combination_gets_its_share_of_the_time() -> None:
    found = cells(0.001, 2.0)
    assert [(cell.threads, cell.rows) for cell in found] == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4)]
    assert [cell.p50 for cell in found] == pytest.approx([0.001, 0.002, 0.004, 0.0005, 0.001, 0.002])
    assert all(cell.runs >= 3 and cell.p99 == pytest.approx(cell.p50) for cell in found)


def test_batches_that_would_take_too_long_are_left_out_but_one_row_never() -> None:
    assert [(cell.threads, cell.rows, cell.runs) for cell in cells(5.0, 1.0)] == [(1, 1, 3), (2, 1, 3)]


def test_batches_that_the_model_refuses_are_left_out() -> None:
    assert {cell.rows for cell in cells(0.001, 1.0, most_rows=2)} == {1, 2}


def test_a_model_that_does_not_run_is_an_error() -> None:
    with pytest.raises(RequestError, match="too many rows"):
        cells(0.001, 1.0, most_rows=0)


def test_a_model_without_batches_is_run_on_its_inputs_as_they_are() -> None:
    assert [cell.p50 for cell in cells(0.001, 1.0, rows=[1])] == pytest.approx([0.004, 0.002])


def test_threads_are_powers_of_two_and_all() -> None:
    assert [thread_counts(count) for count in (1, 2, 3, 4, 6, 8)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "threads", "rows"),
    [
        # A short run: threads gain nothing, batches much.
        ({1: [0.02, 0.025, 0.03], 2: [0.03, 0.03, 0.035]}, 1, 4),
        # A long one: two threads halve it, and rows cost the same together as apart.
        ({1: [20, 40, 80], 2: [11, 22, 44]}, 2, 1),
        # A little faster is worth another thread for a long one, as it is at load, and slower is not.
        ({1: [20, 40, 80], 2: [18, 36, 72]}, 2, 1),
        ({1: [20, 40, 80], 2: [21, 42, 84]}, 1, 1),
        # A thread that serves requests has more use of a processor than a short run that gains a little.
        ({1: [2, 4, 8], 2: [1.8, 3.6, 7.2]}, 1, 1),
    ],
)
def test_what_a_measurement_speaks_for(milliseconds: dict[int, list[float]], threads: int, rows: int) -> None:
    found = [
        Cell(count, size, 9, one / 1000, one / 1000)
        for count, times in milliseconds.items()
        for size, one in zip((1, 2, 4), times, strict=True)
    ]
    settings = recommend(found)
    assert (settings.threads, settings.max_batch_size) == (threads, rows)
    assert served_rows_per_second(settings.cell) < settings.cell.rows_per_second


def test_runs_at_once_each_get_their_share_of_the_time() -> None:
    clock = Clock()
    (found,) = measure_together(Engine(clock, 1, 0.01, 4), INPUTS, [1], 1.0, clock)
    assert (found.runs, found.p50, found.per_second) == pytest.approx((1, 0.04, 25.0))
    assert 1.0 <= clock.now < 1.1


def test_what_fails_together_is_left_out_and_what_fails_alone_is_told() -> None:
    class Starved(Engine):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
            self.most_rows -= 1
            if self.most_rows < 0:
                raise RequestError(Code.MODEL_FAILED, "no memory")
            self.clock.now += self.row_seconds
            return {}

    clock = Clock()
    # One run at a time needs about 34 within its share.
    found = measure_together(Starved(clock, 1, 0.01, 50), INPUTS, [1, 2, 4], 1.0, clock)
    assert [one.runs for one in found] == [1]
    with pytest.raises(RequestError, match="no memory"):
        measure_together(Starved(clock, 1, 0.01, 0), INPUTS, [1, 2], 1.0, clock)


def test_several_runs_at_once_are_what_a_server_could_serve() -> None:
    cell = Cell(1, 1, 9, 0.1, 0.1)
    assert served_rows_per_second(cell, Together(2, 0.11, 18.0)) == 18.0
    assert served_rows_per_second(cell, Together(1, 0.1, 10.0)) == served_rows_per_second(cell) < 10
