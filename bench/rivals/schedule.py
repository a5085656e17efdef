"""Which tries run side by side: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.rivals.cases import HALDANE, Case


@dataclass(frozen=True)
class Entry:
    """One try of one case with one controller."""

    controller: str
    case: Case
    number: int


def groups(cases: Mapping[str, Sequence[Case]], tries_of_others: int = 9) -> list[list[Entry]]:
    """The tries of each controller's cases, in groups of which one runs after the other.

    First all that break nothing, then what breaks something: in each of these groups Prometheus is away once, or every
    controller is killed once. `tries_of_others` bounds the tries of all controllers but Haldane.
    """
    entries = [
        Entry(controller, case, number)
        for controller, chosen in cases.items()
        for case in chosen
        for number in range(1, (case.tries if controller == HALDANE else min(case.tries, tries_of_others)) + 1)
    ]
    apart: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        if entry.case.breaks:
            apart.setdefault((entry.case.key, entry.number), []).append(entry)
    return [group for group in ([entry for entry in entries if not entry.case.breaks], *apart.values()) if group]
