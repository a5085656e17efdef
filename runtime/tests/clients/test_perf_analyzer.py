"""Triton's unmodified perf_analyzer against the real server: what people measure servers of this protocol with."""

import csv
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.harness.debian_packages import NotDebian, library_path, unpacked

RUN_SECONDS = 120.0
REQUESTS = 50
JSON_TENSORS = ("--input-tensor-format", "json", "--output-tensor-format", "json")


@pytest.fixture(scope="module")
def perf_analyzer(pinned: Callable[[str], Path]) -> Callable[..., dict[str, str]]:
    """Runs it and returns the one line of its report, by the report's own heads."""
    if platform.machine() != "x86_64":
        pytest.skip(f"there is no perf_analyzer for {platform.machine()}")
    environment = pinned("perf_analyzer")
    try:
        libraries = unpacked(environment.parent / "libb64", ["libb64-0d"])
    except NotDebian as error:
        pytest.skip(str(error))
    (cuda,) = environment.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    path = os.pathsep.join([str(cuda), library_path(libraries)])

    def run(report: Path, *arguments: str) -> dict[str, str]:
        command = [str(environment / "bin/perf_analyzer"), *arguments, "-f", str(report)]
        # One window of so many requests, and a result that need not be steady.
        command += [
            "--measurement-mode",
            "count_windows",
            "--measurement-request-count",
            str(REQUESTS),
            "-r",
            "3",
            "-s",
            "999",
        ]
        ended = subprocess.run(
            command,
            env=os.environ | {"LD_LIBRARY_PATH": path},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        (line,) = csv.DictReader(report.open())
        return line

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("-i", "http", "--concurrency-range", "2"),
        ("-i", "http", "--concurrency-range", "2", "--async"),
        ("-i", "http", "--concurrency-range", "1", *JSON_TENSORS),
        ("-i", "http", "--request-rate-range", "100"),
        ("-i", "grpc", "--concurrency-range", "2"),
        ("-i", "grpc", "--concurrency-range", "2", "--async"),
        ("-i", "grpc", "--concurrency-range", "1", "--grpc-compression-algorithm", "gzip"),
    ],
    ids=" ".join,
)
def test_it_measures(
    perf_analyzer: Callable[..., dict[str, str]],
    server: Any,
    grpc_address: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    address = grpc_address if "grpc" in arguments else server.url.removeprefix("http://")
    line = perf_analyzer(tmp_path / "report.csv", "-m", "double", "-u", address, "--shape", "x:4,3", *arguments)
    assert float(line["Inferences/Second"]) > 0
    assert float(line["p99 latency"]) > 0


def test_it_sends_rows_in_batches(perf_analyzer: Callable[..., dict[str, str]], server: Any, tmp_path: Path) -> None:
    """A model whose first dimension is free is one that batches: `-b` counts rows."""
    address = server.url.removeprefix("http://")
    line = perf_analyzer(tmp_path / "report.csv", "-m", "double", "-u", address, "-b", "8", "--concurrency-range", "2")
    assert float(line["Inferences/Second"]) > 0


def test_it_tells_of_a_model_that_is_not_there(
    perf_analyzer: Callable[..., dict[str, str]], server: Any, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="nobody"):
        perf_analyzer(tmp_path / "report.csv", "-m", "nobody", "-u", server.url.removeprefix("http://"))
