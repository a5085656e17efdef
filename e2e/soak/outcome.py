"""What was wished for, and all that was seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from e2e.harness.tally import NOBODY
from e2e.scenarios.traffic import Answers
from e2e.soak.lives import Operator
from e2e.soak.player import Player
from e2e.soak.record import Failure, Record, Span


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line."""

    seconds: float
    seed: int
    kills: int
    places: int
    rate: float


class AllAnswers(Answers):
    """The client's counts, and every failure with the time at which its request was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.all_failures: list[Failure] = []

    def failed(self, version: str | None, why: str, *, seconds: float, at: float) -> None:
        super().failed(version, why, seconds=seconds, at=at)
        self.all_failures.append(Failure(at - seconds, version or NOBODY, why))


@dataclass
class Outcome:
    """All that was seen, for the laws and the summary."""

    wishes: Wishes
    records: list[Record] = field(default_factory=list)
    players: list[Player] = field(default_factory=list)
    unmeasured: list[Span] = field(default_factory=list)
    """When Prometheus was away, or had not scraped enough yet."""
    leftovers: list[str] = field(default_factory=list)
    operator: Operator | None = None
    storm: float = 0.0
    """Seconds in which faults came."""
    ended: bool = False

    @property
    def requests(self) -> int:
        """Requests that ended."""
        return sum(player.place.answers.requests for player in self.players)

    @property
    def failed(self) -> int:
        """Requests that failed, whoever was to blame."""
        return sum(count.failed for player in self.players for count in player.place.answers.versions.values())
