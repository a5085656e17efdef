"""How much memory this container may still take."""

from pathlib import Path

from haldane_runtime.engine import cgroup

_KIB = 1024


def room_for_another(root: Path = Path("/")) -> bool:
    """True when as much is free as this process holds, which is more than a second run of its model can need."""
    return headroom(root) >= _kib(root / "proc/self/status", "VmRSS:")


def headroom(root: Path = Path("/")) -> float:
    """Bytes until the tightest limit of the container or of the machine; infinite when none can be read.

    The page cache counts as free: the kernel gives it back first.
    """
    free = _kib(root / "proc/meminfo", "MemAvailable:")
    found = [float(free)] if free else []
    for folder in cgroup.folders(root, "memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file "),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        ):
            most, used = cgroup.read(folder / limit), cgroup.read(folder / usage)
            if most.isdigit() and used.isdigit():
                found.append(int(most) - int(used) + _value(folder / "memory.stat", cache))
    return min(found, default=float("inf"))


def _kib(path: Path, key: str) -> int:
    return _value(path, key) * _KIB


def _value(path: Path, key: str) -> int:
    for line in cgroup.read(path).splitlines():
        if line.startswith(key):
            return int(line[len(key) :].split()[0])
    return 0
