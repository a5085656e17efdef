"""Which tries run side by side: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.rivals.cases import CONTROLLER, PROMETHEUS, Case


@dataclass(frozen=True)
class Entry:
    """One try of one case with one controller."""

    controller: str
    case: Case
    number: int


def groups(cases: Mapping[str, Sequence[Case]]) -> list[list[Entry]]:
    """The tries of each controller's cases, in groups of which one runs after the other.

    First all that break nothing. Then the outages, a controller at a time: the outage is that of all its tries. Last the
    killings, in each of which every controller is killed once.
    """
    entries = [
        Entry(controller, case, number)
        for controller, chosen in cases.items()
        for case in chosen
        for number in range(1, case.tries + 1)
    ]
    peaceful = [entry for entry in entries if not entry.case.breaks]
    made = [peaceful]
    for controller in cases:
        made.append([e for e in entries if e.controller == controller and PROMETHEUS in e.case.breaks])
    kills: dict[tuple[str, int], list[Entry]] = {}
    for entry in _breaking_controllers(entries):
        kills.setdefault((entry.case.key, entry.number), []).append(entry)
    return [group for group in (*made, *kills.values()) if group]


def _breaking_controllers(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if CONTROLLER in entry.case.breaks]
