"""Which scenarios may run at the same time: pure, so that it can be tested without a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

OPERATOR: Final = "operator"
PROMETHEUS: Final = "prometheus"
QUIET: Final = "quiet"
"""Processors that nobody else keeps busy: broken by who sends so much that it would be slower beside others who send."""


@dataclass(frozen=True)
class Plan:
    """How a scenario may be run.

    `needs` are parts of the cluster that must work all the time, `breaks` those that it breaks; `seconds` is how long it may take.
    """

    needs: frozenset[str]
    breaks: frozenset[str]
    seconds: float


@dataclass(frozen=True)
class Entry:
    """One scenario on the timetable: its name, its plan, and its row of the table that it was made from, if there is one."""

    name: str
    plan: Plan
    row: dict[str, Any] = field(default_factory=dict, compare=False)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The order that leaves the fewest places empty.

    First all that need everything, before them the one that keeps the processors busy; then the one that breaks Prometheus, beside which those run that do without; last the one that breaks the operator,
    beside which those run whose rollouts must come through that. Among equals the longest begins.
    """
    return sorted(
        entries,
        key=lambda entry: (
            OPERATOR not in entry.plan.needs,
            PROMETHEUS not in entry.plan.needs,
            not entry.plan.breaks,
            -entry.plan.seconds,
        ),
    )


def startable(waiting: Sequence[Entry], running: Collection[Entry], at_once: int) -> list[Entry]:
    """The scenarios that may start now, in order.

    One that breaks something starts when nobody runs who needs it, and nobody overtakes it who does: otherwise a steady flow of others would keep it
    waiting for ever.
    """
    needed = {part for entry in running for part in entry.plan.needs}
    broken = {part for entry in running for part in entry.plan.breaks}
    chosen: list[Entry] = []
    for entry in waiting:
        if len(running) + len(chosen) >= at_once:
            break
        if not entry.plan.breaks & (needed | broken) and not entry.plan.needs & broken:
            chosen.append(entry)
            needed |= entry.plan.needs
        broken |= entry.plan.breaks
    return chosen
