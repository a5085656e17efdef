"""The unmodified client of KServe against the real server, in an environment of its own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
RUN_SECONDS = 120

CHECKS = [
    "v2_binary",
    "v2_json",
    "v2_several_inputs_and_a_subset_of_outputs",
    "v2_errors_have_their_sentence",
    "v2_health",
    "v1_predict",
    "v1_health",
    "grpc_infer",
    "grpc_health_and_errors",
]


@pytest.fixture(scope="module")
def results(pinned: Callable[[str], Path], server: Any, grpc_address: str) -> dict[str, str | None]:
    ended = subprocess.run(
        [str(pinned("kserve") / "bin/python"), str(HERE / "kserve_checks.py"), server.url, grpc_address],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str | None] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_kserves_client(results: dict[str, str | None], check: str) -> None:
    assert results[check] is None, results[check]


def test_every_check_is_listed(results: dict[str, str | None]) -> None:
    assert sorted(results) == sorted(CHECKS)
