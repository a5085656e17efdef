"""Programs and libraries of Debian for a test or a measurement, without installing them: unpacked into a folder, as any user."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.harness.errors import HarnessError

DOWNLOAD_SECONDS = 120.0


class NotDebian(HarnessError):
    """There are no such packages here; everything else that goes wrong is a fault."""


def unpacked(folder: Path, packages: Sequence[str]) -> Path:
    """`folder` with all that the packages hold; made once, whoever else asks for it at the same time.

    Raises:
        NotDebian: when this is none, with what to install.
        HarnessError: when a package cannot be had, with what to do.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(folder, packages)
    return folder


def library_path(folder: Path) -> str:
    """What LD_LIBRARY_PATH must be for the programs in an unpacked folder."""
    return os.pathsep.join(str(path) for path in sorted((folder / "usr/lib").iterdir()) if path.is_dir())


def _fetch(folder: Path, packages: Sequence[str]) -> None:
    names = " ".join(packages)
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NotDebian(f"This is no Debian to take {names} from: install what they hold.")
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        # Its sandbox user cannot write to the folders of others.
        _run(["apt-get", "-o", "APT::Sandbox::User=", "download", "-q", *packages], fresh, names)
        for package in sorted(fresh.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(fresh)], fresh, names)
            package.unlink()
        fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run(command: Sequence[str], folder: Path, names: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{names} could not be had from Debian within {DOWNLOAD_SECONDS:.0f} s.") from error
    if done.returncode:
        advice = "run `apt-get update` once if they were not found"
        raise HarnessError(f"{names} could not be had from Debian ({advice}): {done.stderr.strip()[-500:]}")
