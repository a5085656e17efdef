"""What a new version may be like, by the names that a user picks from."""

from __future__ import annotations

from dataclasses import dataclass

from haldane.simulate.traffic import Fault


@dataclass(frozen=True)
class Kind:
    """One kind of new version."""

    name: str
    title: str
    fault: Fault
    is_good: bool = False


KINDS = (
    Kind("good", "as good as stable", Fault(), is_good=True),
    Kind("errors", "1 % more errors than stable", Fault(more_errors=0.01)),
    Kind("many-errors", "10 % more errors", Fault(more_errors=0.10)),
    Kind("broken", "half of its answers are errors", Fault(more_errors=0.5)),
    Kind("slow", "30 % slower", Fault(latency=1.3)),
    Kind("twice-slow", "twice as slow", Fault(latency=2.0)),
    Kind("late", "10 % more errors, 10 minutes after its first request", Fault(more_errors=0.10, begins=600.0)),
)
"""From the best to the most treacherous."""
BY_NAME = {kind.name: kind for kind in KINDS}
