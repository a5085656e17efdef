import os
import subprocess
import sys
from pathlib import Path

import pytest

from haldane_runtime.engine.threads import cpu_quota, usable_threads


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/box/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n2:cpu,cpuacct:/docker/abc\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/kubepods/pod1/abc\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "120000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            1.2,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n0::/pod\n",
                "sys/fs/cgroup/unified/pod/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
    ],
    ids=[
        "nothing",
        "v2 without",
        "v2",
        "v2 without proc",
        "v2 nested",
        "v1 joint",
        "v1 inside a container",
        "v1 without",
        "v1 joint, mounted by one name",
        "v2 beside v1",
    ],
)
def test_the_tightest_quota_counts(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(write(tmp_path, files)) == quota


@pytest.mark.parametrize(("limit", "threads"), [("50000", 1), ("150000", 1), ("100000", 1)])
def test_threads_are_whole_cpus_within_the_quota(tmp_path: Path, limit: str, threads: int) -> None:
    assert usable_threads(write(tmp_path, {"sys/fs/cgroup/cpu.max": f"{limit} 100000"})) == threads


def test_never_more_threads_than_cores(tmp_path: Path) -> None:
    assert usable_threads(write(tmp_path, {"sys/fs/cgroup/cpu.max": "100000000 100000"})) == usable_threads(tmp_path)


def test_the_affinity_mask_counts() -> None:
    allowed = os.sched_getaffinity(0)
    code = "import sys; from haldane_runtime.engine.threads import usable_threads; sys.exit(usable_threads())"
    one = min(allowed)
    child = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {code}"], check=False
    )
    assert child.returncode == 1
    assert usable_threads(Path("/absent")) == len(allowed)
