"""How many threads the container may really use: the cgroup's CPU quota, not the host's cores."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from haldane_runtime.engine import cgroup

# Opening a session twice costs its load time and, for a moment, its memory.
TRIAL_BYTES = 64 << 20
# A run this short has nothing to share out: waking another thread takes as long.
SHORT_SECONDS = 150e-6
# The front end wants the other cores too, so that for short runs, of which there are many, a second thread has to
# earn its place. For long ones it stays unless it does harm: on a machine that is busy at the start it shows no gain,
# and the choice is for as long as the model is served.
LEAST_SPEEDUP = 1.25
LONG_SECONDS = 0.005
LEAST_SPEEDUP_LONG = 0.75


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
    quotas = [quota for folder in cgroup.folders(root, "cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    v2 = cgroup.read(folder / "cpu.max").split()
    if len(v2) == 2 and v2[0] != "max":
        return int(v2[0]) / int(v2[1])
    quota, period = cgroup.read(folder / "cpu.cfs_quota_us"), cgroup.read(folder / "cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def first_attempt(model_bytes: int, available: int) -> int:
    """How many threads to open the session with, when `available` may be used: 1, or all for a large model."""
    return available if model_bytes > TRIAL_BYTES else 1


def worth_another_attempt(single: Mapping[int, float], available: int) -> bool:
    """Should all threads be tried, given seconds by rows with one?"""
    return available > 1 and bool(single) and max(single.values()) > SHORT_SECONDS


def least_speedup(single: Mapping[int, float]) -> float:
    """What a quick look at the start must show, given seconds by rows with one thread."""
    return LEAST_SPEEDUP_LONG if single.get(1, 0.0) > LONG_SECONDS else LEAST_SPEEDUP


def all_threads_pay(
    single: Mapping[int, float], all_threads: Mapping[int, float], least: float = LEAST_SPEEDUP
) -> bool:
    """Compare seconds by rows: the geometric mean of the speed-ups must reach `least`."""
    speedups = [single[rows] / max(seconds, 1e-9) for rows, seconds in all_threads.items() if rows in single]
    return bool(speedups) and math.prod(speedups) ** (1 / len(speedups)) >= least
