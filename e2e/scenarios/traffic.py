"""Steady requests with real rows, and what came of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Collection
from typing import Final

from e2e.harness.client import Pace, Target, send_steadily
from e2e.harness.tally import NOBODY, Tally
from e2e.scenarios.errors import Unmet
from examples.dataset import Rows, holdout_rows

_LAST_ANSWERS_SECONDS: Final = 15.0
_KEPT_FAILURES: Final = 1000


class Answers(Tally):
    """The client's counts, and when the first and the last request were sent that a version answered, by the event loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.first_sent_at: dict[str, float] = {}
        self.last_sent_at: dict[str, float] = {}
        self.failures: list[tuple[float, str]] = []
        """When, and what: the first thousand."""

    def answered(self, version: str, *, right: bool, seconds: float, at: float) -> None:
        super().answered(version, right=right, seconds=seconds, at=at)
        self._note(version, at - seconds)

    def failed(self, version: str | None, why: str, *, seconds: float, at: float) -> None:
        super().failed(version, why, seconds=seconds, at=at)
        self._note(version or NOBODY, at - seconds)
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append((at, f"{version or NOBODY} failed after {seconds * 1000:.0f} ms: {why}"))

    def count(self, version: str) -> int:
        """Requests that a version answered, failures included."""
        return self.versions[version].requests if version in self.versions else 0

    def must_have_lost_nothing(self, own: Collection[str] = ()) -> None:
        """Raises Unmet when a request failed that stable would have answered: any that not one of `own` failed itself."""
        lost = self.lost(own)
        if lost:
            failures = [
                f"{version}: {why}"
                for version, count in self.versions.items()
                if version not in own
                for why in count.failures
            ]
            raise Unmet(
                f"{lost} of {self.requests} requests failed that stable would have answered:\n  "
                + "\n  ".join(failures)
            )

    def _note(self, version: str, sent_at: float) -> None:
        self.first_sent_at[version] = min(sent_at, self.first_sent_at.get(version, sent_at))
        self.last_sent_at[version] = max(sent_at, self.last_sent_at.get(version, sent_at))

    def __str__(self) -> str:
        counts = (
            f"{version} {count.requests}" + (f" ({count.failed} failed)" if count.failed else "")
            for version, count in self.versions.items()
        )
        return ", ".join(counts) or "no requests"


@contextlib.asynccontextmanager
async def sending(
    target: Target, answers: Answers, rate: float, rows: Rows | None = None, *, made_up_for: float = 0.0
) -> AsyncIterator[None]:
    """`rate` requests a second for as long as the context lasts; `answers` is complete when it ends. For `made_up_for` see Pace."""
    stop = asyncio.Event()
    # More can never be under way: where the machine stands still for a moment, every request is sent, and either answered or too late.
    pace = Pace(rate=rate, in_flight=math.ceil(rate * Pace.timeout) + 1, made_up_for=made_up_for)
    sender = asyncio.create_task(send_steadily(target, rows or holdout_rows(), answers, stop, pace))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(sender, pace.timeout + _LAST_ANSWERS_SECONDS)
