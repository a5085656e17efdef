"""The container's own limits, as the kernel's control groups tell them, v1 and v2."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def folders(root: Path, controller: str) -> Iterator[Path]:
    """Where the files of a `controller` may lie for this process, from its own group up to the root group."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Joint controllers of v1 are mounted under both names or under one; beside v1, v2 is "unified".
        for name in (controllers, controller) if controllers else ("", "unified"):
            mount = root / "sys/fs/cgroup" / name
            # In a container of cgroup v1 the path is the host's, and only the mount itself exists.
            inner = PurePosixPath(path)
            for folder in (inner, *inner.parents):
                yield mount / str(folder).lstrip("/")


def read(path: Path) -> str:
    """Its text without the line's end; empty when it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
