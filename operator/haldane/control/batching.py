"""Between the passes and Prometheus: what many objects ask at about the same time is asked together.

However many rollouts are looked at, Prometheus is asked few queries, each of a bounded size. No object suffers for another:
what is refused to a batch is asked again in halves, down to single queries, and an outage is an answer to each of them. Of
what users wrote, only what one check asks is asked together (`uniting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import datetime
from typing import Any

from haldane.control.gathering import Gathered, Gathering
from haldane.control.ports import Answer, Metrics, Unavailable
from haldane.control.turns import Turns
from haldane.control.uniting import Uniter
from haldane.plan import batches
from haldane.plan.batches import Batch, Question
from haldane.plan.queries import Counted, Written
from haldane.plan.unions import Part

GATHER_SECONDS = 0.1
"""How long a query waits for others."""
DEADLINE = 8.0
"""Seconds until nobody waits for an answer any more: what has not been sent by then is not sent."""
FREE_AT_ONCE, FREE_EACH = 8, 4
"""Users' own queries under way, of all namespaces and of one: a namespace whose queries hang waits for them alone."""


_TOO_LATE = Unavailable(f"Prometheus did not answer within {DEADLINE:g} s")


class Batcher:
    """Implements `Metrics` on top of another one, which bounds how many queries are under way.

    Queries are gathered for a moment. Of users' own, one text about one instant is asked once for all of a namespace, and
    few of a namespace at once.
    """

    def __init__(self, metrics: Metrics, gather: float = GATHER_SECONDS, longest: int = batches.LONGEST) -> None:
        self._metrics = metrics
        self._longest = longest
        self._gathering = Gathering(gather, self._errands)
        self._turns = Turns(FREE_AT_ONCE, FREE_EACH)
        self._shared: dict[tuple[str, datetime, str | None], asyncio.Task[Answer]] = {}
        self._uniter = Uniter(self._ask_once, gather, longest)

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        """See `Metrics`."""
        asked: asyncio.Future[Answer]
        if isinstance(promql, Counted):
            asked = self._gathering.ask(Question(promql, at))
        elif isinstance(promql, Written) and owner is not None:
            asked = self._uniter.ask(Part(promql, at, owner))
        else:
            asked = self._ask_once(promql, at, owner)
        # Others may wait for the same answer: who gives up must not take it from them.
        return await asyncio.shield(asked)

    def _ask_once(self, promql: str, at: datetime, owner: str | None) -> asyncio.Task[Answer]:
        key = promql, at, owner
        if key not in self._shared:
            asked = self._in_time(promql, at) if owner is None else self._in_turn(promql, at, owner)
            self._shared[key] = self._gathering.start(asked)
            self._shared[key].add_done_callback(lambda _: self._shared.pop(key, None))
        return self._shared[key]

    def _errands(self, gathered: Gathered[Question]) -> Iterator[Coroutine[Any, Any, None]]:
        for batch in batches.pack(gathered, self._longest):
            yield self._fetch(batch, gathered)

    async def _fetch(self, batch: Batch, gathered: Gathered[Question]) -> None:
        answer = await self._in_time(batch.promql, batch.at)
        if isinstance(answer, Unavailable) and answer.too_much and len(batch.questions) > 1:
            for half in batch.halves():
                self._gathering.start(self._fetch(half, gathered))
            return
        for question, own in batch.split(answer).items():
            gathered[question].set_result(own)

    async def _in_time(self, promql: str, at: datetime) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._metrics.query(promql, at)
        except TimeoutError:
            return _TOO_LATE

    async def _in_turn(self, promql: str, at: datetime, owner: str) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE) as patience, self._turns.of(owner):
                # From here on it cannot be recalled: its turn is over when it is, though nobody may wait for it any more.
                patience.reschedule(asyncio.get_running_loop().time() + DEADLINE)
                return await self._metrics.query(promql, at, owner=owner)
        except TimeoutError:
            return _TOO_LATE
