"""Runs at once of a real model: what a setting must not take away, and what `bench` tells of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime import loading
from haldane_runtime.commands.bench import bench
from haldane_runtime.commands.measurement import thread_counts
from haldane_runtime.engine.base import Engine
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
