"""All readings of one run, by server and cell, and their form on disk."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.runtime.loads import Reading
from bench.runtime.statistics import Summary, summarise

LIMIT = "session.run"
"""The name of the raw ONNX Runtime among the servers."""
ECHO = "echo"
# The same with a run of the model inside.
ECHO_AND_RUN = "echo-and-run"


@dataclass(slots=True)
class Results:
    """`closed` by server and cell key, `open` by server and rate; what could not be measured is in `notes`."""

    machine: Mapping[str, str]
    closed: dict[str, dict[str, list[Reading]]] = field(default_factory=dict)
    open: dict[str, dict[float, list[Reading]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, server: str, key: str, reading: Reading) -> None:
        self.closed.setdefault(server, {}).setdefault(key, []).append(reading)

    def add_open(self, server: str, rate: float, reading: Reading) -> None:
        self.open.setdefault(server, {}).setdefault(rate, []).append(reading)

    def get(self, server: str, key: str) -> Summary | None:
        readings = self.closed.get(server, {}).get(key)
        return summarise(readings) if readings else None

    def at(self, server: str, rate: float) -> Summary | None:
        readings = self.open.get(server, {}).get(rate)
        return summarise(readings) if readings else None

    def rates(self) -> list[float]:
        return sorted({rate for rates in self.open.values() for rate in rates})

    def write(self, path: Path, extra: Mapping[str, Any]) -> None:
        closed = {
            server: {key: [asdict(reading) for reading in readings] for key, readings in cells.items()}
            for server, cells in self.closed.items()
        }
        opened = {
            server: {f"{rate:.1f}": [asdict(reading) for reading in readings] for rate, readings in rates.items()}
            for server, rates in self.open.items()
        }
        content = {"machine": self.machine, **extra, "closed": closed, "open": opened, "notes": self.notes}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
