"""Asks Prometheus, once for each spec, whether its checks can be decided: beside the passes, as the looks at them are.

What was found is kept in memory only, for it is told in status: after a restart it is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control import answers
from haldane.control.ports import Metrics
from haldane.control.store import Key
from haldane.plan import rehearsal

AGAIN = timedelta(minutes=10)
"""How long what was found, or that Prometheus could not say, is good for."""
AGAIN_SOON = timedelta(seconds=30)
"""The same while what serves is so new that Prometheus may not have met it yet."""
DEADLINE = 30.0
"""Seconds for all queries of one rehearsal: nothing waits for them but a sentence."""


@dataclass
class _Rehearsal:
    of: tuple[int, str]
    at: datetime
    good_for: timedelta
    """Unless nothing was found: then it is good for as long as the spec is."""
    task: asyncio.Task[tuple[str, ...] | None]

    @property
    def found(self) -> tuple[str, ...] | None:
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None


class Rehearsals:
    """What is known of each object's checks."""

    def __init__(self, metrics: Metrics, wake: Callable[[Key], None]) -> None:
        """`wake` is called with a key of which something was found."""
        self._metrics = metrics
        self._wake = wake
        self._known: dict[Key, _Rehearsal] = {}

    def of(self, key: Key, md: ModelDeployment, now: datetime) -> tuple[str, ...] | None:
        """What is wrong with the checks of the spec as it stands, as clauses; None while that is not known."""
        revision, known = rehearsal.subject(md), self._known.get(key)
        if revision is None:
            return known.found if known and known.of[0] == md.metadata.generation else None
        of = (md.metadata.generation, revision)
        is_good = known is not None and (known.found == () or now - known.at < known.good_for)
        if known is None or known.of != of or not (is_good or not known.task.done()):
            self.forget(key)
            task = asyncio.create_task(self._ask(md, now), name=f"rehearsal of {key}")
            good_for = AGAIN_SOON if rehearsal.is_new(md, now) else AGAIN
            self._known[key] = known = _Rehearsal(of, now, good_for, task)
            task.add_done_callback(lambda _: self._wake(key) if self._known.get(key) is known else None)
        return known.found

    def again(self, key: Key, now: datetime) -> timedelta | None:
        """When what was found is to be asked again; None when it is good for as long as the spec is."""
        known = self._known.get(key)
        if known is None or known.found == ():
            return None
        return max(timedelta(seconds=1), known.at + known.good_for - now)

    def forget(self, key: Key) -> None:
        """Drop what is known and asked of an object."""
        known = self._known.pop(key, None)
        if known:
            known.task.cancel()

    async def _ask(self, md: ModelDeployment, now: datetime) -> tuple[str, ...] | None:
        asked = {
            name: self._metrics.query(promql, now, owner=None if name in rehearsal.OWN else md.metadata.namespace)
            for name, promql in rehearsal.questions(md).items()
        }
        return rehearsal.findings(md, await answers.within(DEADLINE, asked), now)
