"""One pass over one ModelDeployment: observe, decide, write the status, and then make the cluster follow it.

Level-triggered: a pass starts from the object, its children and the time, whatever event brought it. Nothing that a
decision rests on is kept here, so the operator may be killed between any two lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.converge import Convergence
from haldane.control.errors import Conflict, Terminal
from haldane.control.ports import (
    MODEL_DEPLOYMENTS,
    Answer,
    Clock,
    Cluster,
    Event,
    Manifest,
    Metrics,
    Recorder,
    Unavailable,
)
from haldane.control.store import Key, Store
from haldane.plan import analysis, asking, revision, rollout
from haldane.plan.children import children
from haldane.plan.observe import observe
from haldane.plan.observed import Observed
from haldane.plan.status import compose, invalid, problem_events
from haldane.plan.strategic_merge import PodTemplateError
from haldane.plan.strategy import in_effect

logger = logging.getLogger(__name__)

METRICS_DEADLINE = 8.0
"""Seconds that all queries of a pass may take together."""
FREE = ("query/", "baseline/")
"""How the names of queries begin that users wrote; see `asking.queries`."""
PATIENCE = 5.0
"""Longest wait after a failed pass during a rollout, in seconds."""
AT_ONCE = timedelta(0)
UNUSABLE = timedelta(minutes=1)
"""How often to look at an object of which nothing can be made: its status may have been changed meanwhile."""


class Reconciler:
    """The work of the queue. Raises Retryable, Terminal or Conflict when a pass has to be repeated."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        metrics: Metrics,
        recorder: Recorder,
        clock: Clock,
        store: Store,
        images: Mapping[str, str],
    ) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._recorder = recorder
        self._clock = clock
        self._store = store
        self._images = images
        self._convergence = Convergence(cluster, store)
        # Why the API server refused a child in the last pass: the next one shows it, and finds out again.
        self._refusals: dict[Key, str] = {}

    async def __call__(self, key: Key) -> timedelta | None:
        """One pass; when to look again, None for when something happens."""
        body = self._store.parent(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._convergence.forget(key)
            self._refusals.pop(key, None)
            return None  # its children are garbage-collected by their owner references
        try:
            md = in_effect(ModelDeployment.from_wire(body))
        except ValueError as error:
            return await self._explain(key, body, error, self._clock.now())
        try:
            return await self._pass(key, body, md)
        except Conflict:
            await self._refresh(key)
            raise  # decided on an object that has changed meanwhile: decide again

    def patience(self, key: Key) -> float | None:
        """The longest wait, in seconds, after a pass that failed; None when any will do.

        While users' requests depend on the next decision, a rollback must not wait for a child that is refused.
        """
        status = (self._store.parent(key) or {}).get("status") or {}
        weight = (status.get("rollout") or {}).get("weight")
        return PATIENCE if weight or status.get("candidate") or status.get("previous") else None

    async def _pass(self, key: Key, body: Manifest, md: ModelDeployment) -> timedelta | None:
        asked_at = self._clock.now()
        answers = await self._ask(md, asked_at)
        verdicts = analysis.judge(md, answers, asked_at)
        if self._store.parent(key) is not body:
            return AT_ONCE  # it changed meanwhile: those were the answers to another question
        # Prometheus may take seconds: only what is looked at, and the time that is taken, from here on is of now.
        now = self._clock.now()
        seen = self._store.children(body)
        flaw = None
        try:
            target = revision.target(md, self._images[md.spec.runtime.device])
        except PodTemplateError as error:
            # What runs goes on to be judged and kept up, as if that part of the spec had not been touched.
            before = _in_use(md.status, revision.known_revisions(seen))
            if before is None:
                return await self._explain(key, body, error, now)
            target, flaw = before, str(error)
        revisions = revision.known_revisions(seen, target)
        observed = observe(key.name, seen)
        decision = rollout.step(md, revisions[target.name], observed, verdicts, now)
        refusal = self._refusals.get(key)
        status = compose(md, decision.status, observed, now, refusal, flaw)

        written = await self._write(key, body, status.to_wire())
        if written:
            _log(key, md.status, status)
        events = [*decision.events, *problem_events(md.status, decision.status, observed)] if written else []
        if written and flaw and not any(flaw in condition.message for condition in md.status.conditions):
            events.append(Event("Warning", "InvalidSpec", f"The spec cannot be used: {flaw}. Correct it."))
        try:
            outcome = await self._convergence.converge(
                body, children(md, status, revisions), routes_first=_reroutes(md, status, observed)
            )
        finally:
            # After the effects, which people wait for; but status has moved on, so these are told now or never.
            for event in events:
                await self._recorder.record(body, event)
        if outcome.refusal is None:
            self._refusals.pop(key, None)
        elif outcome.refusal != refusal:
            self._refusals[key] = outcome.refusal
            await self._recorder.record(body, Event("Warning", "Refused", outcome.refusal))
        if written or outcome.changed or outcome.refusal != refusal:
            return AT_ONCE  # our own writes bring no event: look at once what follows from them
        if outcome.refusal:
            raise Terminal(outcome.refusal)
        return decision.requeue_after

    async def _explain(self, key: Key, body: Manifest, error: ValueError, now: datetime) -> timedelta:
        """Say in status and by an Event what is wrong with a spec that slipped past the API server; when to look again."""
        status = invalid(body, error, now)
        if await self._write(key, body, status):
            message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
            logger.info("invalid", extra={"key": str(key), "reason": message})
            await self._recorder.record(body, Event("Warning", "InvalidSpec", message))
        return UNUSABLE

    async def _write(self, key: Key, body: Manifest, status: Manifest) -> bool:
        """Write the status when it differs; whether it did."""
        if status == body.get("status"):
            return False
        try:
            live = await self._cluster.write_status(body, status)
        except Terminal as refused:
            await self._recorder.record(body, Event("Warning", "StatusRefused", refused.reason))
            raise
        self._store.put(live)
        return True

    async def _refresh(self, key: Key) -> None:
        """Look at the object itself: the watch is late, or lost something."""
        body = self._store.parent(key)
        live = await self._cluster.get(MODEL_DEPLOYMENTS, key.namespace, key.name)
        if live:
            self._store.put(live)
        elif body:
            self._store.remove(body)

    async def _ask(self, md: ModelDeployment, now: datetime) -> dict[str, Answer]:
        """The answers to all queries, asked at once; one that takes too long is Unavailable."""
        queries = asking.queries(md, now)
        if not queries:
            return {}
        tasks = {
            name: asyncio.create_task(
                self._metrics.query(promql, asking.instant(md, name, now), free=name.startswith(FREE))
            )
            for name, promql in queries.items()
        }
        _, late = await asyncio.wait(tasks.values(), timeout=METRICS_DEADLINE)
        for task in late:
            task.cancel()
        too_late = Unavailable(f"Prometheus did not answer within {METRICS_DEADLINE:g} s")
        return {name: too_late if task in late else task.result() for name, task in tasks.items()}


def _reroutes(md: ModelDeployment, status: ModelDeploymentStatus, observed: Observed) -> bool:
    """Whether requests are taken away from pods that serve: from a candidate, or from a stable that was promoted too soon."""
    less = status.rollout.weight < max(md.status.rollout.weight, observed.route_weight or 0)
    before, after = md.status.stable, status.stable
    return less or (before is not None and after is not None and before.revision != after.revision)


def _in_use(status: ModelDeploymentStatus, known: Mapping[str, revision.Revision]) -> revision.Revision | None:
    """What the spec asked for while it could be used: the candidate, or else stable; None when neither was ever made."""
    states = (status.candidate, status.stable)
    return next((known[state.revision] for state in states if state and state.revision in known), None)


def _log(key: Key, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> None:
    """One line for a decision that moved something; a new count of pods or a new verdict is none."""
    moved, earlier = _facts(after), _facts(before)
    if moved != earlier:
        logger.info("decided", extra={"key": str(key), **moved, "doing": after.rollout.message})


def _facts(status: ModelDeploymentStatus) -> dict[str, Any]:
    return {
        "phase": status.rollout.phase,
        "weight": status.rollout.weight,
        "stable": status.stable and status.stable.revision,
        "candidate": status.candidate and status.candidate.revision,
        "previous": status.previous and status.previous.revision,
    }
