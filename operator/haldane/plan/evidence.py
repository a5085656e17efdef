"""What a look at a check must know of the looks before it: how evenly the hits came, and which planned looks were taken.

It stands in status as one line of text, because nothing may live in memory alone and nobody else is to read it. What is
tested are cumulative counts, which every look asks for anew: a line that is lost costs only caution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Evidence:
    """Sums over the intervals between looks. A hit is a request that counts against the limit."""

    looks: int = 0
    """Intervals that were counted."""
    planned: int = 0
    """Planned looks that were taken (see `looks`)."""
    requests: int = 0
    """Candidate requests up to the last look."""
    hits: int = 0
    """Those of them that are hits."""
    hits_together: int = 0
    """Hits of candidate and baseline together."""
    squares: float = 0.0
    """Sum of the candidate's hits squared, per request."""
    looks_together: int = 0
    """Intervals in which either had hits."""
    squares_together: float = 0.0
    """Sum over those of the candidate's hits squared, per hit of both."""
    worst_hits: int = 0
    """Hits of the interval that had the most of them for its requests."""
    worst_requests: int = 0
    bound: float = 0.0
    """Duration in seconds beyond which a request is a hit; 0 where it is not a duration that decides."""

    def to_text(self) -> str:
        """The line for status."""
        values = (getattr(self, field.name) for field in fields(self))
        return " ".join(str(value) if isinstance(value, int) else f"{value:.12g}" for value in values)

    @classmethod
    def from_text(cls, text: str | None) -> Evidence | None:
        """Read it back; None for none, and for what another version wrote."""
        words = (text or "").split()
        if len(words) != len(fields(cls)):
            return None
        try:
            looks, planned, requests, hits, together = (int(word) for word in words[:5])
            sums = float(words[5]), int(words[6]), float(words[7])
            return cls(looks, planned, requests, hits, together, *sums, int(words[8]), int(words[9]), float(words[10]))
        except ValueError:
            return None
