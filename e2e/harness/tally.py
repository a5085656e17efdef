"""What the client counted, by the version that answered."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

NOBODY: Final = "nobody"
"""Stands for the version of a failure that no model answered: a route's own error, a broken connection, a time-out."""

_KEPT_LATENCIES: Final = 5000
_KEPT_FAILURES: Final = 10
_KEPT_RECENT: Final = 2000


@dataclass
class VersionCount:
    """Requests that one version answered: all of them, those with the right label, those that failed."""

    requests: int = 0
    right: int = 0
    failed: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))
    failures: list[str] = field(default_factory=list)
    """The first few, as sentences."""

    @property
    def accuracy(self) -> float | None:
        """Share of right labels among the requests that did not fail, 0 to 1; None when there are none."""
        answered = self.requests - self.failed
        return self.right / answered if answered else None

    def latency(self, quantile: float) -> float | None:
        """The quantile of the last latencies in seconds, by nearest rank; None when there are none."""
        if not self.latencies:
            return None
        ranked = sorted(self.latencies)
        return ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]


class Tally:
    """Counts by version, bounded in memory however long the client runs."""

    def __init__(self) -> None:
        self.versions: dict[str, VersionCount] = {}
        self._recent: deque[tuple[float, str]] = deque(maxlen=_KEPT_RECENT)

    @property
    def requests(self) -> int:
        """Requests that ended, whoever answered."""
        return sum(count.requests for count in self.versions.values())

    def answered(self, version: str, *, right: bool, seconds: float, at: float) -> None:
        """A prediction came from `version` after `seconds`, at the clock's `at`."""
        count = self._count(version, seconds, at)
        count.right += right

    def failed(self, version: str | None, why: str, *, seconds: float, at: float) -> None:
        """A request failed: in `version`, or on the way (None)."""
        count = self._count(version or NOBODY, seconds, at)
        count.failed += 1
        if len(count.failures) < _KEPT_FAILURES:
            count.failures.append(why)

    def share(self, version: str, *, now: float, window: float = 10.0) -> float | None:
        """Share, 0 to 1, of the requests of the last `window` seconds that `version` answered; None without requests."""
        recent = Counter(by for at, by in self._recent if at > now - window)
        return recent[version] / recent.total() if recent else None

    def lost(self, own: Collection[str]) -> int:
        """Failed requests that stable would have answered: all but those which a candidate of `own` failed itself."""
        return sum(count.failed for version, count in self.versions.items() if version not in own)

    def _count(self, version: str, seconds: float, at: float) -> VersionCount:
        count = self.versions.setdefault(version, VersionCount())
        count.requests += 1
        count.latencies.append(seconds)
        self._recent.append((at, version))
        return count
