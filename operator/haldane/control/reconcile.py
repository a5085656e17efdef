"""One pass over one ModelDeployment: observe, decide, write the status, and then make the cluster follow it.

Level-triggered: a pass starts from the object, its children and the time, whatever event brought it. It takes the time
once, and decides all of it at one instant. Nothing that a decision rests on is kept here, so the operator may be killed
between any two lines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from haldane.api.status import ModelDeploymentStatus, RevisionStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.converge import Convergence
from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.gates import Gatekeeper
from haldane.control.looks import Looks
from haldane.control.ports import (
    DEPLOYMENTS,
    MODEL_DEPLOYMENTS,
    Clock,
    Cluster,
    Event,
    Manifest,
    Recorder,
)
from haldane.control.rehearsals import Rehearsals
from haldane.control.store import Key, Store
from haldane.control.troubles import Troubles
from haldane.plan import revision, rollout
from haldane.plan.changes import facts, goes_back, is_only_news, reroutes
from haldane.plan.children import children
from haldane.plan.clock import Instant, in_time
from haldane.plan.names import revision_name, revision_of
from haldane.plan.observe import observe
from haldane.plan.reading import Reading, read
from haldane.plan.status import compose, invalid
from haldane.plan.strategic_merge import PodTemplateError
from haldane.plan.strategy import in_effect
from haldane.plan.told import told

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Longest wait after a failed pass during a rollout, in seconds."""
AT_ONCE = timedelta(0)
WHILE_WAITING = timedelta(seconds=30)
"""How often an object is passed over whose look waits for its turn: often enough that its deadlines count as watched."""
PRUNED = (
    "The API server drops a part of the status that the operator writes: its CRD is older than the operator. "
    "Apply the CRD of this release (with Helm: crds.install=true); until then some decisions cannot be recorded."
)
UNUSABLE = timedelta(minutes=1)
"""How often to look at an object of which nothing can be made: its status may have been changed meanwhile."""


class Reconciler:
    """The work of the queue. Raises Retryable, Terminal or Conflict when a pass has to be repeated."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        looks: Looks,
        recorder: Recorder,
        clock: Clock,
        store: Store,
        images: Mapping[str, str],
        gates: Gatekeeper | None = None,
        rehearsals: Rehearsals | None = None,
    ) -> None:
        self._cluster = cluster
        self._looks = looks
        self._recorder = recorder
        self._clock = clock
        self._store = store
        self._images = images
        self._gates = gates
        self._rehearsals = rehearsals
        self._convergence = Convergence(cluster, store)
        self._troubles = Troubles()
        # When a pass last left each object's status as it is; where there is none, a deadline gives a last chance.
        self._passed: dict[Key, Instant] = {}

    async def __call__(self, key: Key) -> timedelta | None:
        """One pass; when to look again, None for when something happens."""
        body = self._store.parent(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._convergence.forget(key)
            if self._gates:
                self._gates.forget(key)
            if self._rehearsals:
                self._rehearsals.forget(key)
            self._troubles.forget(key)
            self._passed.pop(key, None)
            self._looks.forget(key)
            return None  # its children are garbage-collected by their owner references
        now = self._clock.now()
        try:
            reading = read(body, self._store.children(body))
        except ValueError as error:
            return await self._explain(key, body, error, now)
        try:
            return await self._pass(key, body, reading, now)
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

    def is_exposed(self, key: Key) -> bool:
        """Whether users' requests reach something that may have to be taken from them: what happens to it comes first."""
        status = (self._store.parent(key) or {}).get("status") or {}
        return bool((status.get("rollout") or {}).get("weight") or status.get("previous"))

    async def _pass(self, key: Key, body: Manifest, reading: Reading, now: datetime) -> timedelta | None:
        passed = Instant(now, self._clock.steady())
        md = in_time(in_effect(reading.md), passed, self._passed.get(key))
        look = self._looks.of(key, body, md, now)
        waits = look is not None and look.is_under_way
        verdicts = look.answers.result() if look and not waits else None
        taken, now = now, look.instant(now) if look and not waits else now
        seen = await self._seen(key, body, md.status)
        target, flaw = self._target(md, reading, seen)
        if target is None:
            return await self._explain(key, body, ValueError(flaw), now)
        revisions = revision.known_revisions(seen, target)
        observed = observe(key.name, seen)
        gates = self._gates.report(key, md, target.name, observed, now) if self._gates else None
        decision = rollout.step(md, revisions[target.name], observed, verdicts, now, gates, is_looking=waits)
        refusal, failure = self._troubles.refusal(key), self._troubles.failure(key)
        doubts = self._rehearsals.of(key, md, now) if self._rehearsals else None
        status = compose(md, decision.status, observed, now, refusal, flaw, doubts, failure)
        takes_away = reroutes(md, status, observed)
        if waits and not (takes_away or goes_back(md, status)):
            return self._left_until_answered(key, passed)

        try:
            written = await self._write(key, body, status.to_wire())
        except Retryable:
            self._passed.pop(key, None)  # the API server is away, and what the watches told last is no longer the case
            raise
        self._passed[key] = passed
        events: tuple[Event, ...] = ()
        if written:
            _log(key, md.status, status)
            events = told(md, decision, status, observed, flaw)
        try:
            outcome = await self._convergence.converge(
                body, children(md, status, revisions, reading.kept), routes_first=takes_away
            )
        except Retryable as failed:
            self._troubles.failed(key, failed.reason)
            raise
        finally:
            # After the effects, which people wait for; but status has moved on, so these are told now or never.
            for event in events:
                await self._recorder.record(body, event)
        self._troubles.done(key, outcome.refusal)
        if outcome.refusal and outcome.refusal != refusal:
            await self._recorder.record(body, Event("Warning", "Refused", outcome.refusal))
        moved = written and not is_only_news(md.status, status)
        if moved or outcome.changed or outcome.refusal != refusal:
            return AT_ONCE  # our own writes bring no event: look at once what follows from them
        if outcome.refusal:
            raise Terminal(outcome.refusal)
        again = self._rehearsals.again(key, now) if self._rehearsals else None
        wait = min((wait for wait in (decision.requeue_after, again) if wait is not None), default=None)
        return None if wait is None else max(AT_ONCE, wait - (taken - now))

    def _left_until_answered(self, key: Key, now: Instant) -> timedelta:
        """The answers bring it back; whatever is written until then would be another question to them."""
        if last := self._passed.get(key):
            self._passed[key] = last.watched(now)
        return WHILE_WAITING

    def _target(
        self, md: ModelDeployment, reading: Reading, seen: list[Manifest]
    ) -> tuple[revision.Revision | None, str | None]:
        """The revision that the spec asks for, and why it is another one: None when there is none to stay at.

        What runs goes on to be judged and kept up, as if what cannot be used of the spec had not been touched.
        """
        status, flaw, target = md.status, reading.flaw, None
        try:
            target = revision.target(md, self._images[md.spec.runtime.device])
        except PodTemplateError as error:
            flaw = "; ".join(filter(None, (flaw, str(error))))
        if target and reading.asks_for(target.name, *(state.revision for state in _states(status))):
            return target, flaw
        return _in_use(status, revision.known_revisions(seen)), flaw

    async def _seen(self, key: Key, body: Manifest, status: ModelDeploymentStatus) -> list[Manifest]:
        """The children. A Deployment that is missed while its pods are there is asked for by name.

        Somebody may have taken its labels away, by which it is watched, and a healthy version must not be taken for lost.
        """
        seen = self._store.children(body)
        there = {revision_of(child) for child in seen if child["kind"] == "Deployment"}
        pods = {revision_of(child) for child in seen if child["kind"] == "Pod"}
        wanted = {state.revision for state in _states(status)}
        missed = sorted((wanted & pods) - there)
        for revision_there in missed:
            live = await self._cluster.get(DEPLOYMENTS, key.namespace, revision_name(key.name, revision_there))
            if live:
                self._store.found(live)
        return self._store.children(body) if missed else seen

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
        if live["metadata"].get("resourceVersion") == body["metadata"].get("resourceVersion"):
            # Fields that its schema does not have were dropped: another try would end the same, and soon.
            await self._recorder.record(body, Event("Warning", "StatusPruned", PRUNED))
            return False
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


def _states(status: ModelDeploymentStatus) -> list[RevisionStatus]:
    return [state for state in (status.stable, status.candidate, status.previous) if state]


def _in_use(status: ModelDeploymentStatus, known: Mapping[str, revision.Revision]) -> revision.Revision | None:
    """What the spec asked for while it could be used: the candidate, or else stable; None when neither was ever made."""
    states = (status.candidate, status.stable)
    return next((known[state.revision] for state in states if state and state.revision in known), None)


def _log(key: Key, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> None:
    """One line for a decision that moved something; a new count of pods or a new verdict is none."""
    moved, earlier = facts(after), facts(before)
    if moved != earlier:
        logger.info("decided", extra={"key": str(key), **moved, "doing": after.rollout.message})
