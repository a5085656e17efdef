"""Runs at once of a real model: what a setting must not take away, and what `bench` tells of them."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haldane_runtime import loading
from haldane_runtime.commands.bench import bench
from haldane_runtime.commands.measurement import thread_counts
from haldane_runtime.core.types import Array, ModelSignature
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.pair import Pair, pays
from haldane_runtime.engine.samples import Inputs
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.settings import from_environment


@pytest.fixture
def slow(models: Any, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a model that is not batched and takes long: by its golden request, tens of milliseconds."""
    golden = {"inputs": [{"name": "rounds", "shape": [1], "datatype": "INT64", "data": [2000]}], "outputs": []}
    return {
        "HALDANE_MODEL_URI": f"file://{models.work()}",
        "HALDANE_GOLDEN": json.dumps({"requests": [golden]}),
        "HALDANE_CACHE_DIR": str(tmp_path),
    }


def test_fewer_threads_for_one_run_leave_as_many_runs_at_once(
    slow: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def runs_at_once(engine: Engine, inputs: Inputs, row_seconds: float, threads: int, seconds: float) -> int:
        asked.append(threads)
        return threads

    monkeypatch.setattr(loading, "runs_at_once", runs_at_once)
    loaded = loading.load(from_environment({**slow, "HALDANE_INTRA_OP_THREADS": "1"}))
    assert loaded.threads == 1
    assert asked == [usable_threads()]
    assert loaded.profile.runs == usable_threads()


def test_a_model_that_many_threads_run_is_opened_twice_where_runs_share_the_processor(
    slow: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_threads", lambda: 2)
    monkeypatch.setattr(loading, "runs_at_once", lambda *_: 2)
    loaded = loading.load(from_environment({**slow, "HALDANE_INTRA_OP_THREADS": "2"}))
    assert isinstance(loaded.engine, Pair)
    assert (loaded.threads, loaded.profile.runs) == (2, 2)
    assert loaded.inputs is not None
    names = [spec.name for spec in loaded.engine.signature.outputs]
    alone = loaded.engine.run(loaded.inputs, names)
    with ThreadPoolExecutor(4) as pool:
        beside = [run.result() for run in [pool.submit(loaded.engine.run, loaded.inputs, names) for _ in range(4)]]
    assert all(np.array_equal(one[name], alone[name]) for one in beside for name in names)


@pytest.mark.parametrize("lacking", ["memory at first", "memory for the second", "gain"])
def test_a_model_is_opened_once_where_twice_would_not_pay(
    lacking: str, slow: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([lacking != "memory at first", lacking == "gain"])
    monkeypatch.setattr(loading, "room_for_another", lambda: next(room))
    monkeypatch.setattr(loading, "usable_threads", lambda: 2)
    monkeypatch.setattr(loading, "runs_at_once", lambda *_: 1 if lacking == "gain" else 2)
    loaded = loading.load(from_environment({**slow, "HALDANE_INTRA_OP_THREADS": "2"}))
    assert not isinstance(loaded.engine, Pair)
    assert loaded.profile.runs == (2 if lacking == "memory for the second" else 1)
    assert loaded.inputs is not None
    loaded.engine.run(loaded.inputs, [spec.name for spec in loaded.engine.signature.outputs])


class Held:
    """Runs until it is let go, and tells who ran."""

    signature = ModelSignature((), ())
    device = "cpu"

    def __init__(self, name: str, told: list[str], go: threading.Barrier) -> None:
        self.name, self.told, self.go = name, told, go
        self.closed = False

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.told.append(self.name)
        self.go.wait(10)
        return {}

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("threads", "beside", "ran"),
    [
        (2, 0, ["wide"]),
        (2, 1, ["wide", "narrow"]),
        (4, 3, ["wide", "wide", "narrow", "narrow"]),
        (3, 1, ["wide", "wide"]),
    ],
)
def test_runs_are_narrow_from_half_the_threads_on(threads: int, beside: int, ran: list[str]) -> None:
    told: list[str] = []
    go = threading.Barrier(beside + 1)
    pair = Pair(Held("wide", told, go), Held("narrow", told, go), threads)
    with ThreadPoolExecutor(max(1, beside)) as pool:
        others = []
        for number in range(beside):
            others.append(pool.submit(pair.run, {}, ()))
            while len(told) <= number:
                time.sleep(0.001)
        pair.run({}, ())
        for other in others:
            other.result()
    assert told == ran
    go.reset()
    told.clear()
    alone = threading.Barrier(1)
    for held in (pair._wide, pair._narrow):
        held.go = alone  # type: ignore[attr-defined]
    pair.run({}, ())
    assert told == ["wide"], "alone again"


@pytest.mark.parametrize(
    ("threads", "runs", "reached"),
    [(1, 1, False), (2, 1, False), (2, 2, True), (4, 2, False), (4, 4, True), (3, 2, False)],
)
def test_a_narrow_session_is_kept_where_runs_get_as_far_as_it(threads: int, runs: int, reached: bool) -> None:
    assert pays(threads, runs) is reached


def test_bench_measures_runs_at_once_where_batches_gain_nothing(
    slow: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(slow, None, 0.5, True) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["runs"] for one in report["runs_at_once"]] == thread_counts(usable_threads())
    assert all(one["runs_per_second"] > 0 for one in report["runs_at_once"])
    assert report["best"]["runs_at_once"] in range(1, usable_threads() + 1)
    assert bench(slow, None, 0.5, False) == 0
    told = capsys.readouterr().out
    assert "runs at once  p50 ms  runs/s" in told
    assert "at once, which it measures at every start" in told
