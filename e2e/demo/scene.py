"""What is going on now: all that a view shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from e2e.demo.chapters import Chapter, Result
from e2e.harness.tally import Tally
from haldane.api.v1alpha1 import ModelDeployment


@dataclass
class Scene:
    """Written by the story and the client, read by a view. Times are seconds since the demo began."""

    chapters: Sequence[Chapter]
    tally: Tally
    deployment: ModelDeployment | None = None
    playing: Chapter | None = None
    now: float = 0.0
    """The event loop's clock, in its own seconds: what the tally's times are compared with."""
    elapsed: float = 0.0
    chapter_elapsed: float = 0.0
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was done and what came of it, as sentences."""
