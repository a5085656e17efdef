"""The unmodified client of KServe against the real server, in an environment of its own."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PINS = HERE / "kserve.txt"
INSTALL_SECONDS = 240
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
def python() -> str:
    """The interpreter of an environment that has what `kserve.txt` pins; made once on a machine."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haldane" / "clients"
    folder = base / f"kserve-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"
    found = folder / "bin" / "python"
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            uv = Path(sys.executable).parent / "uv"
            for command in (
                [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
                [str(uv), "pip", "sync", "--quiet", "--require-hashes", "--python", str(found), str(PINS)],
            ):
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
            (folder / "ready").touch()
    return str(found)


@pytest.fixture(scope="module")
def results(python: str, server: Any, grpc_address: str) -> dict[str, str | None]:
    ended = subprocess.run(
        [python, str(HERE / "kserve_checks.py"), server.url, grpc_address],
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
