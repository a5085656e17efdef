"""What must hold of every decision in a lying world, whatever it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import RETRY_ANNOTATION, ModelDeployment
from haldane.plan.annotations import paused
from haldane.plan.capacity import candidate_size, full_size, has_route, is_autoscaled
from haldane.plan.deadlines import deadline
from haldane.plan.observed import Observed
from haldane.plan.revision import revision_hash
from haldane.plan.setbacks import REJECTED_LIMIT, TOO_FEW
from haldane.plan.situation import Decision
from haldane.plan.status import compose
from haldane.plan.transitions import ROUTE_SETTLE

from .asked import examine_gates
from .ends import examine_ends
from .moments import examine_moments

if TYPE_CHECKING:
    from .lying import LyingWorld


def examine(world: LyingWorld, md: ModelDeployment, observed: Observed, decision: Decision, now: datetime) -> None:
    """All of them; `md` is the object that was decided on."""
    old, new = md.status, decision.status
    rollout = new.rollout
    assert 0 <= rollout.weight <= 100
    assert rollout.phase == "Stable" or decision.requeue_after is not None, "somebody looks again"
    ends = deadline(md.model_copy(update={"status": new}))
    assert rollout.phase in ("Stable", "Watching") or ends is not None, "no phase without a deadline"
    states = [state.revision for state in (new.stable, new.candidate, new.previous) if state]
    assert len(states) == len(set(states)), "a revision has one part"
    _examine_weight(world, md, observed, new)
    if begins(old, new) and rollout.phase == "Preparing":
        assert not paused(md), "a pause holds"
    if rollout.phase == "Watching" and old.rollout.phase == "Promoting" and new.stable:
        assert {name for name, ready in observed.stable_endpoints.items() if ready} == {new.stable.revision}
    _examine_sizes(world, md, new)
    _examine_undo(md, observed, decision, now)
    _examine_lowered(md, observed, new, now)
    _examine_approval(md, new)
    examine_ends(world, md, observed, decision, now)
    examine_moments(old.rollout, new.rollout)
    _examine_claims(world, md, observed, decision)


def begins(old: ModelDeploymentStatus, new: ModelDeploymentStatus) -> bool:
    """Whether there is a candidate that was none before."""
    return new.candidate is not None and (old.candidate is None or old.candidate.revision != new.candidate.revision)


def _examine_weight(world: LyingWorld, md: ModelDeployment, observed: Observed, new: ModelDeploymentStatus) -> None:
    old, rollout = md.status, new.rollout
    if rollout.weight > old.rollout.weight and new.candidate:
        name = new.candidate.revision
        assert observed.pods(name).ready > 0, "no weight without pods that were seen ready"
        assert not paused(md), "a pause holds"
        if world.gates and old.rollout.weight == 0:
            examine_gates(world, md, new)
        if world.is_fair and not world.ready(name):
            assert world.second - world.lost.get(name, -world.lag) <= world.lag, "no weight without ready pods"
    if not old.stable or not new.stable or rollout.strategy == "Recreate" or old.rollout.phase == "Initializing":
        return
    kept = observed.pods(new.stable.revision).ready
    if new.stable.revision != old.stable.revision:
        assert kept > 0, "the Service moves to pods that were seen ready"
    if rollout.weight < old.rollout.weight and new.candidate:
        left = observed.pods(new.candidate.revision).ready
        assert kept > 0 or left == 0, "requests are not taken from ready pods to where none are"


def _examine_sizes(world: LyingWorld, md: ModelDeployment, new: ModelDeploymentStatus) -> None:
    rollout = new.rollout
    if rollout.phase in ("Progressing", "Promoting") and rollout.weight and new.candidate and new.stable:
        enough = candidate_size(md, rollout.weight, md.spec.scaling.min_replicas)
        assert new.candidate.replicas >= enough, "the share has its pods"
    if new.stable and new.candidate and rollout.strategy != "Recreate" and rollout.phase != "RollingBack":
        assert new.stable.replicas >= md.spec.scaling.min_replicas, "stable can carry everything"
        if begins(md.status, new):
            world.carried = new.stable.replicas
        highest = md.spec.scaling.max_replicas if is_autoscaled(md) else 0
        assert new.stable.replicas >= min(world.carried, highest or 0), "and goes on to be able to"


def _examine_undo(md: ModelDeployment, observed: Observed, decision: Decision, now: datetime) -> None:
    """Requests go back to nearly as many pods as they need, unless what serves is dire, or bad and the others were waited for."""
    old, new = md.status, decision.status
    is_undone = old.stable and old.previous and new.stable and new.stable.revision == old.previous.revision
    if not is_undone or not old.stable or not old.previous or old.rollout.strategy == "Recreate":
        return
    needed = full_size(md, observed, old.stable.revision)
    told = " ".join(event.message for event in decision.events)
    is_dire = "beyond the abort limit" in told or "nonfinite" in told or observed.pods(old.stable.revision).ready == 0
    began, is_bad = old.rollout.phase_started_at, old.stable.revision in {entry.revision for entry in old.rejected}
    is_late = old.rollout.phase == "RollingBack" and is_bad and began is not None and now - began >= TOO_FEW
    assert is_dire or is_late or observed.pods(old.previous.revision).ready >= 0.75 * needed, (
        "too few pods for what comes back"
    )


def _examine_lowered(md: ModelDeployment, observed: Observed, new: ModelDeploymentStatus, now: datetime) -> None:
    """A candidate's pods go when its requests have."""
    old, rollout = md.status, new.rollout
    if not old.candidate or not new.candidate or {old.rollout.phase, rollout.phase} != {"Progressing"}:
        return
    if new.candidate.replicas < old.candidate.replicas:
        changed = old.rollout.weight_changed_at
        assert not has_route(md) or observed.route_weight in (rollout.weight, rollout.weight or None)
        assert rollout.weight == old.rollout.weight
        assert changed is None or now - changed >= ROUTE_SETTLE or now < changed, "proxies lead to these pods yet"


def _examine_claims(world: LyingWorld, md: ModelDeployment, observed: Observed, decision: Decision) -> None:
    """What is told must have been seen."""
    told = compose(md, decision.status, observed, world.now + world.skew)
    for state in (told.stable, told.candidate, told.previous):
        assert state is None or state.ready_replicas == observed.pods(state.revision).ready
    holds = {condition.type for condition in told.conditions if condition.status == "True"}
    serving = observed.pods(told.stable.revision).ready if told.stable else 0
    assert ("Available" in holds) == (serving > 0)
    if "Ready" in holds:
        assert serving > 0
        assert told.stable, "somebody serves"
        assert told.stable.revision == revision_hash(md), "ready is what spec asks for"
    assert not {"Reconciling", "Stalled"} <= holds
    before, after = md.status.history, decision.status.history
    promoted = after and after != before and after[-1].outcome == "Promoted"
    if promoted and decision.status.rollout.phase == "Watching":
        assert serving > 0, "nothing without pods is promoted"


def _examine_approval(md: ModelDeployment, new: ModelDeploymentStatus) -> None:
    old = md.status.rollout
    if old.phase != "Progressing" or new.candidate is None or new.rollout.phase not in ("Progressing", "Promoting"):
        return
    left = new.rollout.phase == "Promoting" or new.rollout.step != old.step
    steps = md.spec.rollout.steps
    if left and steps[min(old.step or 0, len(steps) - 1)].approval:
        approved = old.approved or "approve" in str(new.verbs)
        assert approved or "was promoted" in (new.rollout.waived or ""), "no step is left without its approval"


@dataclass
class Rejections:
    """Which revisions may not be tried, told by what became of rollouts, and which one the last retry asked for."""

    known: set[str] = field(default_factory=set)
    tried: str | None = None
    """What is being rolled out."""
    token: str = ""
    asked: str | None = None
    """What spec asked for when the token came, if that was rejected and has not been tried since."""
    serves: str | None = None
    """What goes on to serve because the one before could not be brought back."""

    def take(self, md: ModelDeployment, decision: Decision) -> None:
        """Follow a decision, and hold its status against what is known."""
        old, new, wanted = md.status, decision.status, revision_hash(md)
        token = md.metadata.annotations.get(RETRY_ANNOTATION, "")
        if token != self.token:
            self.token = token
            self.asked = wanted if token and wanted in self.known and wanted != self.tried else None
        if begins(old, new) and new.candidate and new.rollout.phase == "Preparing":
            self.tried = new.candidate.revision
            assert self.tried not in self.known or self.asked == self.tried, "each retry lifts one rejection, and once"
            self.asked = None
        is_kept = any(event.reason == "UndoFailed" for event in decision.events)
        if is_kept and old.stable:
            self.serves = old.stable.revision
        if any(event.reason == "Retried" for event in decision.events) and new.candidate is None and new.stable:
            assert self.asked == new.stable.revision, "what serves is no longer rejected when that was asked for"
            self.known.discard(new.stable.revision)
        if new.history and new.history[-1:] != old.history[-1:]:
            entry = new.history[-1]
            self.tried = None
            if entry.outcome == "Promoted" and not is_kept:
                self.known.discard(entry.revision)
            # Only a spec that asks for another one leaves it as free as it was.
            abort = (new.verbs or {}).get("abort")
            aborted = abort is not None and abort != (old.verbs or {}).get("abort")
            if entry.outcome == "RolledBack" or (entry.outcome == "Aborted" and (aborted or entry.revision == wanted)):
                self.known.add(entry.revision)
        remembered = {entry.revision for entry in new.rejected}
        if len(remembered) == REJECTED_LIMIT:
            self.known &= remembered | {wanted}  # the oldest are forgotten, but never what spec asks for
        assert remembered == self.known, "what was rejected is remembered"
        if new.rollout.phase == "Stable" and new.stable:
            is_known = new.stable.revision in self.known
            assert not is_known or new.stable.revision == self.serves, (
                "what was rejected serves for want of another alone"
            )
