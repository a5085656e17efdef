"""Looks at the checks, beside the passes: a pass that finds one due has Prometheus asked, and the answers bring it back.

So no pass ever waits for Prometheus. However slow that is, and however many rollouts ask at once, what else happens to an
object (a spec taken back, pods lost, an abort) is decided at once. Nothing is lost with a process that is killed: what was
due is still due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control import answers
from haldane.control.ports import Manifest, Metrics
from haldane.control.store import Key
from haldane.plan import analysis, asking
from haldane.plan.analysis import Analysis

logger = logging.getLogger(__name__)

METRICS_DEADLINE = 8.0
"""Seconds that all queries of a look may take together."""
FREE = ("query/", "baseline/", "nobody/")
"""How the names of queries begin that users wrote; see `asking.queries`."""
FRESH = timedelta(seconds=1)
"""A look that is no older is decided on at its own instant: what was seen and what is done about it have one time."""
MOST = 100
"""Looks that are under way or wait for their pass; the others wait for their turn. Without it, more would be begun than can
be decided, and be too old when their pass comes."""
STALE = timedelta(seconds=15)
"""A look that is older (its pass failed, or was late) is taken again."""


Question = tuple[Any, ...]


def _question(body: Manifest) -> Question:
    """What a look depends on. Answers about an object in which that has changed meanwhile are answers to another question.

    Not the whole object: an annotation that changes more often than Prometheus answers must not put off every verdict.
    """
    metadata, status = body.get("metadata") or {}, body.get("status") or {}
    roles = (status.get(role) for role in ("stable", "candidate", "previous"))
    return (
        metadata.get("uid"),
        body.get("spec"),
        status.get("rollout"),
        *((role or {}).get("revision") for role in roles),
    )


class Look(NamedTuple):
    """One look at the checks of an object as it was then."""

    question: Question
    at: datetime
    answers: asyncio.Future[Analysis | None]

    @property
    def is_under_way(self) -> bool:
        """Whether answers are missing still: they come, or are given up, within METRICS_DEADLINE of its turn."""
        return not self.answers.done()

    def instant(self, now: datetime) -> datetime:
        """When to decide on it, in a pass that takes the time `now`."""
        return self.at if now - self.at <= FRESH else now


class Looks:
    """The looks under way, and those that wait for their pass.

    `wake` is called with the key of a look that is over, and whether a check demands that traffic is taken away.
    """

    def __init__(self, metrics: Metrics, wake: Callable[[Key, bool], None]) -> None:
        self._metrics = metrics
        self._wake = wake
        self._looks: dict[Key, Look] = {}
        self._open: set[Key] = set()  # whose turn it is
        self._waiting: dict[Key, None] = {}  # in the order in which they came

    def of(self, key: Key, body: Manifest, md: ModelDeployment, now: datetime) -> Look | None:
        """The look that is due now, begun when it is its turn and has not been yet; None when none is due."""
        look = self._looks.get(key)
        question = _question(body)
        if look and look.question == question and (look.is_under_way or now - look.at <= STALE):
            if not look.is_under_way:
                self._leave(key)
            return look
        at = asking.look_due(md, now)
        if at is None:
            self.forget(key)
            return None
        if look:
            look.answers.cancel()
        if key not in self._open and len(self._open) >= MOST:
            self._waiting.setdefault(key)
            return Look(question, at, asyncio.get_running_loop().create_future())
        self._open.add(key)
        task = asyncio.create_task(self._take(md, asking.queries(md, at), at), name=f"look at {key}")
        look = self._looks[key] = Look(question, at, task)
        task.add_done_callback(lambda _: self._taken(key, look, md))
        return look

    def forget(self, key: Key) -> None:
        """Drop what is known and asked of an object."""
        look = self._looks.pop(key, None)
        if look:
            look.answers.cancel()
        self._waiting.pop(key, None)
        self._leave(key)

    def _leave(self, key: Key) -> None:
        self._open.discard(key)
        while self._waiting and len(self._open) < MOST:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._open.add(following)
            self._wake(following, False)

    def _taken(self, key: Key, look: Look, md: ModelDeployment) -> None:
        if self._looks.get(key) is not look:
            return  # it is of an object that has changed meanwhile
        broken = look.answers.cancelled() or look.answers.exception()
        found = None if broken else look.answers.result()
        self._wake(key, bool(found and found.failed(md)))

    async def _take(self, md: ModelDeployment, queries: Mapping[str, str], at: datetime) -> Analysis | None:
        try:
            return await self._judged(md, queries, at)
        except Exception as error:
            # A pass that failed with it would fail again and again, and neither see a deadline nor a crash.
            logger.exception("no verdict", extra={"key": f"{md.metadata.namespace}/{md.metadata.name}"})
            return analysis.unjudged(md, f"the operator could not judge the answers: {error!r}", at)

    async def _judged(self, md: ModelDeployment, queries: Mapping[str, str], at: datetime) -> Analysis | None:
        asked = {
            name: self._metrics.query(
                promql, asking.instant(md, name, at), owner=md.metadata.namespace if name.startswith(FREE) else None
            )
            for name, promql in queries.items()
        }
        return analysis.judge(md, await answers.within(METRICS_DEADLINE, asked), at)
