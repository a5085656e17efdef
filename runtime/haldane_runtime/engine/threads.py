"""How many threads the container may really use: the cgroup's CPU quota, not the host's cores."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_threads(root: Path = Path("/")) -> int:
    """Whole CPUs within the quota and the affinity mask, at least 1.

    A quota of 1.5 CPUs gives 1: a second thread would spend half of its time throttled, and the
    first would wait for it.
    """
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return max(1, min(cores, int(quota)) if quota is not None else cores)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota on the path from this process's cgroup to the root, in CPUs.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`, `cpu.cfs_period_us`); `root` is where
    the file system's root is looked for. None means no quota.
    """
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        # In a container of cgroup v1 the path is the host's, and only the mount itself exists.
        inner = PurePosixPath(path)
        for folder in (inner, *inner.parents):
            yield mount / str(folder).lstrip("/")


def _quota(folder: Path) -> float | None:
    v2 = _read(folder / "cpu.max").split()
    if len(v2) == 2 and v2[0] != "max":
        return int(v2[0]) / int(v2[1])
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
