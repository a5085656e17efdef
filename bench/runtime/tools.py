"""What the measurement needs besides Python: wrk from Debian, the Go load generator, one virtual environment a peer.

All of it lies in ~/.cache/haldane/bench and is made once.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.runtime.processes import BenchError
from e2e.cluster import paths
from e2e.harness.debian_packages import library_path, unpacked
from e2e.harness.errors import HarnessError

HERE = Path(__file__).resolve().parent
WRK_PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")
INSTALL_SECONDS = 900


def cache() -> Path:
    """The folder for everything that outlives a run."""
    return paths.home() / "bench"


@dataclass(frozen=True, slots=True)
class Wrk:
    program: Path
    environ: Mapping[str, str]


def wrk() -> Wrk:
    """The one in PATH, or Debian's package unpacked without root.

    Raises:
        BenchError: when there is neither, with what to install.
    """
    if found := shutil.which("wrk"):
        return Wrk(Path(found), dict(os.environ))
    try:
        folder = unpacked(cache() / "bin" / "wrk", WRK_PACKAGES)
    except HarnessError as error:
        raise BenchError(f"wrk 4.1 or later is not in PATH. {error}") from error
    return Wrk(folder / "usr/bin/wrk", dict(os.environ) | {"LD_LIBRARY_PATH": library_path(folder)})


def load_generator() -> Path:
    """The Go program of `load/`, built when its sources have changed.

    Raises:
        BenchError: when there is no Go, or the build fails.
    """
    sources = sorted((HERE / "load").glob("*.go")) + sorted((HERE / "load").glob("go.*"))
    key = _digest(b"".join(path.read_bytes() for path in sources))
    program = cache() / "bin" / f"load-{key}"
    if not program.exists():
        go = shutil.which("go")
        if not go:
            raise BenchError(
                "Go 1.21 or later is needed to build the load generator; install it from https://go.dev/dl."
            )
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_name(f".{program.name}.{os.getpid()}")
        _run([go, "build", "-trimpath", "-o", str(fresh), "."], HERE / "load", "build the load generator")
        fresh.replace(program)
    return program


def environment(name: str) -> Path:
    """The Python of a virtual environment of its own, made from the pinned `<name>/requirements.txt` (peers/triton, plot).

    Raises:
        BenchError: when the installation fails.
    """
    requirements = HERE / name / "requirements.txt"
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    peer = Path(name).name
    key = _digest(requirements.read_bytes() + str(base).encode())
    folder = cache() / "venvs" / f"{peer}-{key}"
    if not folder.exists():
        uv = Path(sys.executable).parent / "uv"
        # Programs of an environment name its path, so that it is made where it stays; the mark at the end says that it is whole.
        fresh = cache() / "venvs" / f".{peer}-{key}"
        shutil.rmtree(fresh, ignore_errors=True)
        _run(
            [str(uv), "venv", "-q", "--relocatable", "--python", str(base), str(fresh)],
            HERE,
            f"make {peer}'s environment",
        )
        install = [str(uv), "pip", "install", "-q", "--python", str(fresh / "bin" / "python"), "--require-hashes"]
        _run([*install, "-r", str(requirements)], HERE, f"install {peer}")
        fresh.replace(folder)
    return folder / "bin" / "python"


def draw(results: Path, picture: Path) -> None:
    """Draw results.json as an SVG, with the matplotlib of an environment of its own."""
    command = [str(environment("plot")), str(HERE / "plot" / "draw.py"), str(results), str(picture)]
    _run(command, HERE, "draw the results")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _run(command: Sequence[str], folder: Path, purpose: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"could not {purpose}: {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
