"""docs/events.md names every Event that the operator makes, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from haldane.api.status import Outcome
from haldane.plan.stuck import REASON as OVERDUE
from haldane.plan.undecided_events import REASON

REPOSITORY = Path(__file__).parents[3]
COMPUTED = {REASON, OVERDUE, "ChecksInDoubt", *get_args(Outcome)}
PODS = {"ModelNotFound", "AccessDenied", "ImagePullBackOff", "Unschedulable"}
"""Examples: the reasons of pods are the runtime's and the kubelet's."""


def test_every_event_is_in_the_table() -> None:
    sources = (REPOSITORY / "operator" / "haldane").rglob("*.py")
    written = {
        reason
        for source in sources
        for reason in re.findall(r'"(?:Normal|Warning)",\s*"(\w+)"', source.read_text(encoding="utf-8"))
    }
    table = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith(("| `", "| **`"))]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - PODS
    made = (written - {"Warning"}) | COMPUTED
    assert told == made, f"write a row in docs/events.md for {made - told}; take away {told - made}"
