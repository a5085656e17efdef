"""From what the client and the watches saw in one try to its figures. Pure: times are seconds of one clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.rivals.app import SLOW_MS
from e2e.harness.tally import Tally

SLOW_SECONDS: Final = SLOW_MS / 1000
"""Slower answers of the candidate are harm."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it was sent, whose answer it got (None: nobody's), and after how many seconds."""

    sent: float
    version: str | None
    seconds: float
    failed: bool


class Requests(Tally):
    """The client's counts, with every single request."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Request] = []
        self._first: dict[str | None, asyncio.Event] = {}

    async def answered_by(self, version: str) -> None:
        """Wait until this version has answered."""
        if version not in self.versions:
            await self._first.setdefault(version, asyncio.Event()).wait()

    def answered(self, version: str, *, right: bool, seconds: float, at: float) -> None:
        super().answered(version, right=right, seconds=seconds, at=at)
        self._saw(Request(at - seconds, version, seconds, failed=False))

    def failed(self, version: str | None, why: str, *, seconds: float, at: float) -> None:
        super().failed(version, why, seconds=seconds, at=at)
        self._saw(Request(at - seconds, version, seconds, failed=True))

    def _saw(self, request: Request) -> None:
        self.all.append(request)
        if first := self._first.pop(request.version, None):
            first.set()


@dataclass(frozen=True, slots=True)
class State:
    """What a controller's object says of its rollout."""

    under_way: bool
    outcome: str = ""
    """`promoted`, `rolled back` or empty."""
    weight: int = 0
    reason: str = ""
    """The controller's own words."""


@dataclass
class Sight:
    """What was seen from the instant at which the new version was applied."""

    applied: float
    ended: float | None = None
    """When the controller's object said that the rollout is over; None when it did not until the end of the try."""
    changed_back: float | None = None
    """When the old version was applied again, if it was."""
    outcome: str = ""
    reason: str = ""
    requests: list[Request] = field(default_factory=list)
    pods: dict[str, float] = field(default_factory=dict)
    """When each pod object was first seen, by uid; those from before `applied` are left out."""


@dataclass(frozen=True)
class Figures:
    """One try, as it goes into the table. Seconds; None where there is nothing to tell."""

    outcome: str
    reason: str
    seconds: float | None
    """From the apply to the end of the rollout."""
    span: float | None
    """From the first to the last request that the candidate answered."""
    candidate_requests: int
    candidate_failed: int
    candidate_slow: int
    lost: int
    """Failed requests that the candidate did not answer."""
    pods: int
    first_pod: float | None
    """From the apply to the first new pod object."""
    pods_after_change: int = 0
    span_after_change: float | None = None
    """From applying the old version again to the last request that the candidate answered; 0 when it answered none."""
    rate: float = 0.0
    """Requests a second that the client really sent: fewer than it should where it got no processor."""

    def wire(self) -> dict[str, Any]:
        return asdict(self)


def figures(sight: Sight, candidate: str) -> Figures:
    """The figures of one try; `candidate` is the version that was applied."""
    since = [request for request in sight.requests if request.sent >= sight.applied]
    own = [request for request in since if request.version == candidate]
    pods = sorted(at for at in sight.pods.values() if at >= sight.applied)
    back = sight.changed_back
    later = [request.sent for request in own if back is not None and request.sent >= back]
    return Figures(
        outcome=sight.outcome or "undecided",
        reason=sight.reason,
        seconds=None if sight.ended is None else sight.ended - sight.applied,
        span=_span(own),
        candidate_requests=len(own),
        candidate_failed=sum(request.failed for request in own),
        candidate_slow=sum(request.seconds > SLOW_SECONDS and not request.failed for request in own),
        lost=sum(request.failed for request in since if request.version != candidate),
        pods=len(pods),
        first_pod=pods[0] - sight.applied if pods else None,
        pods_after_change=0 if back is None else sum(at >= back for at in pods),
        span_after_change=None if back is None else max((at - back for at in later), default=0.0),
        rate=len(since) / span if (span := _span(since)) else 0.0,
    )


def _span(requests: Sequence[Request]) -> float | None:
    sent = [request.sent for request in requests]
    return max(sent) - min(sent) if sent else None
