"""Whether a process's memory grows without bound. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

SHARE: Final = 1.15
MEBIBYTES: Final = 6.0
"""How much more the last third of a life may take than the first: caches fill, and the allocator keeps what it got."""
WARM_UP: Final = 60.0
"""The first seconds of a life, in which everything is loaded."""
ENOUGH: Final = 9


def growth(samples: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Medians of the first and of the last third of one life's samples, (seconds, MiB), after its warm-up; None when they are too few."""
    kept = [size for at, size in samples if at - samples[0][0] >= WARM_UP]
    third = len(kept) // 3
    if len(kept) < ENOUGH:
        return None
    return median(kept[:third]), median(kept[-third:])


def complaint(samples: Sequence[tuple[float, float]]) -> str | None:
    """A sentence when it grows; None when it does not, or when nobody can tell."""
    found = growth(samples)
    if found is None or found[1] <= found[0] * SHARE + MEBIBYTES:
        return None
    return f"the operator's memory grew from {found[0]:.0f} to {found[1]:.0f} MiB within one life"
