"""A keyed work queue: however many events come for a key, it is worked on once, one pass at a time.

Time is the event loop's, so that a test with a loop of its own sees exact moments.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from haldane.control.errors import Conflict, Retryable, Terminal

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

SPARE = 2
"""Workers beside the others that only urgent keys get: one that must not wait never waits for passes that may."""

HEARTBEAT = 10.0
"""Seconds between two beats of an idle queue; a probe that sees an older beat knows that the loop is stuck."""


@dataclass(frozen=True)
class Pace:
    """How fast one key is worked on, in seconds."""

    spacing: float = 0.05
    """Rest between the end of a pass and the start of the next: a burst of events becomes one more pass."""
    burst: int = 120
    """Passes in a row at that pace; from then on, and until it calms down, one in `sustained` seconds."""
    sustained: float = 0.25
    """Keeps two controllers that undo each other's work from hammering the API server; what a rollout takes that is looked at
    every second (three passes a look) stays below it, or every answer would come late."""
    deadline: float = 60.0
    """Longest time that one pass may take before it is cancelled and counts as failed."""
    first_backoff: float = 0.5
    """Delay after a first failure; it doubles with each further one."""
    longest_backoff: float = 120.0

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the given number of consecutive failures, from 1."""
        return min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, 30))


class Queue(Generic[K]):
    """Runs `work(key)` for every added key, at most `workers` at once (and SPARE urgent ones) and never two of the same key.

    Urgent keys are started before all others that are due, the others in the order in which they are.
    `work` returns when to look at the key again (None: when something happens). When it raises, the key comes back after
    an exponential backoff, or after what a Retryable asks for, whichever is later; an event brings it back at once.
    `patience` may shorten the backoff: the longest one, in seconds, that a key can bear now; None leaves it to `pace`.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[timedelta | None]],
        *,
        workers: int = 4,
        pace: Pace | None = None,
        patience: Callable[[K], float | None] | None = None,
    ) -> None:
        self._work = work
        self._patience = patience
        self._workers = workers
        self._pace = pace or Pace()
        self._due: dict[K, float] = {}
        self._urgent: set[K] = set()
        self._first: deque[K] = deque()  # urgent keys that are idle; one that is not in _urgent any more is void
        # A heap of idle keys; an entry whose time is not the one in _due is void.
        self._waiting: list[tuple[float, int, K]] = []
        self._order = 0
        self._running: dict[K, asyncio.Task[None]] = {}
        self._resting: set[K] = set()
        self._failures: dict[K, int] = {}
        self._starts: dict[K, deque[float]] = {}
        self._wake = asyncio.Event()
        self.beat: float | None = None
        """Loop time at which the queue last looked for work; None before it runs."""

    def add(self, key: K, after: float = 0.0, *, urgent: bool = False) -> None:
        """Work on the key in `after` seconds; when it is waiting already, at the earlier of both times. Urgent: at once."""
        at = asyncio.get_running_loop().time() + (0.0 if urgent else after)
        if at < self._due.get(key, float("inf")) or (urgent and key not in self._urgent):
            self._due[key] = min(at, self._due.get(key, at))
            if urgent:
                self._urgent.add(key)
            self._offer(key)

    async def run(self, grace: float = 3.0) -> None:
        """Work until cancelled; then passes under way get `grace` seconds to end before they are cancelled, too."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.beat = loop.time()
                self._wake.clear()
                wait = min(self._start_due(loop.time()), HEARTBEAT)
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    self._forget_calm(loop.time())
        finally:
            await self._drain(grace)

    def _offer(self, key: K) -> None:
        """Let the key be started at its time, unless it is busy: then its end offers it again."""
        if key in self._running or key in self._resting:
            return
        if key in self._urgent:
            self._first.append(key)
        else:
            self._order += 1
            heapq.heappush(self._waiting, (self._due[key], self._order, key))
        self._wake.set()

    def _start_due(self, now: float) -> float:
        """Start what is due while there are free workers; seconds until there is more to start."""
        while self._first and len(self._running) < self._workers + SPARE:
            key = self._first.popleft()
            if key in self._urgent and key not in self._running and key not in self._resting:
                self._start(key, now)
        while self._waiting and len(self._running) < self._workers:
            at, _, key = self._waiting[0]
            busy = key in self._running or key in self._resting
            is_void = busy or key in self._urgent or self._due.get(key) != at
            if not is_void and at > now:
                return at - now
            heapq.heappop(self._waiting)
            if not is_void:
                self._start(key, now)
        return float("inf")

    def _start(self, key: K, now: float) -> None:
        del self._due[key]
        urgent = key in self._urgent
        self._urgent.discard(key)
        self._starts.setdefault(key, deque(maxlen=self._pace.burst)).append(now)
        self._running[key] = asyncio.create_task(self._pass(key, urgent), name=f"pass of {key}")

    async def _pass(self, key: K, urgent: bool) -> None:
        try:
            async with asyncio.timeout(self._pace.deadline):
                again = await self._work(key)
        except TimeoutError:
            self._failed(key, urgent, f"it took longer than {self._pace.deadline:g} s")
        except Conflict as conflict:
            self._failed(key, urgent, str(conflict))
        except Retryable as problem:
            self._failed(key, urgent, problem.reason, problem.after)
        except Terminal as refused:
            self._failed(key, urgent, refused.reason)
        except Exception:
            logger.exception("pass failed", extra={"key": str(key)})
            self._failed(key, urgent, None)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add(key, again.total_seconds())
        finally:
            del self._running[key]
            self._resting.add(key)
            asyncio.get_running_loop().call_later(self._rest(key), self._rested, key)
            self._wake.set()

    def _failed(self, key: K, urgent: bool, reason: str | None, after: timedelta | None = None) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff, longest = self._pace.backoff(failures), self._patience(key) if self._patience else None
        delay = max(after.total_seconds() if after else 0.0, backoff if longest is None else min(backoff, longest))
        if reason is not None:
            level = logging.WARNING if failures > 1 else logging.DEBUG
            logger.log(level, "pass failed", extra={"key": str(key), "reason": reason, "again_in": delay})
        self.add(key, delay)
        if urgent:
            asyncio.get_running_loop().call_later(delay, self._still_urgent, key)

    def _still_urgent(self, key: K) -> None:
        if key in self._due:  # no pass has succeeded meanwhile
            self.add(key, urgent=True)

    def _rest(self, key: K) -> float:
        """Seconds until the key may be worked on again."""
        starts, window = self._starts.get(key), self._pace.burst * self._pace.sustained
        crowded = starts is not None and len(starts) == self._pace.burst and starts[-1] - starts[0] < window
        return self._pace.sustained if crowded else self._pace.spacing

    def _forget_calm(self, now: float) -> None:
        window = self._pace.burst * self._pace.sustained
        for key in [key for key, starts in self._starts.items() if now - starts[-1] > window]:
            del self._starts[key]

    def _rested(self, key: K) -> None:
        self._resting.discard(key)
        if key in self._due:
            self._offer(key)

    async def _drain(self, grace: float) -> None:
        tasks = set(self._running.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
