"""What was measured so far, in a file: a run replaces the cases that it plays and leaves the others alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.rivals.faults import Rest
from bench.rivals.observed import Figures


@dataclass
class Results:
    """Figures by controller and case, and the controllers at rest."""

    tries: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    rest: dict[str, Rest] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """What the run was, by controller and case: the rate of the client, the load of the machine, the day."""

    def set(self, controller: str, case: str, figures: Sequence[Figures], note: str) -> None:
        """Replace what is known of a case."""
        self.tries.setdefault(controller, {})[case] = list(figures)
        self.notes[f"{controller}/{case}"] = note

    def get(self, controller: str, case: str) -> list[Figures]:
        """The tries of a case, none when it was not measured."""
        return self.tries.get(controller, {}).get(case, [])

    def first_pods(self, controller: str) -> list[float]:
        """Seconds from every apply to its first pod object."""
        found = (figures.first_pod for tries in self.tries.get(controller, {}).values() for figures in tries)
        return sorted(seconds for seconds in found if seconds is not None)

    def write(self, file: Path) -> None:
        """Write a whole file or nothing."""
        tries = {
            name: {case: [each.wire() for each in figures] for case, figures in cases.items()}
            for name, cases in self.tries.items()
        }
        rest = {name: asdict(each) for name, each in self.rest.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps({"tries": tries, "rest": rest, "notes": self.notes}, indent=1) + "\n")
        fresh.replace(file)


def read(file: Path) -> Results:
    """What is in the file; nothing when there is none."""
    if not file.exists():
        return Results()
    found: dict[str, Any] = json.loads(file.read_text())
    tries = {
        name: {case: [Figures(**each) for each in figures] for case, figures in cases.items()}
        for name, cases in found["tries"].items()
    }
    rest = {name: Rest(**each) for name, each in found["rest"].items()}
    return Results(tries, rest, dict(found["notes"]))
