"""How steps, promotions and watches may end in a lying world: with their proof, not before their time, and not never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import has_route
from haldane.plan.clock import LAST_CHANCE
from haldane.plan.deadlines import step_limit
from haldane.plan.observed import Observed
from haldane.plan.situation import Decision

if TYPE_CHECKING:
    from .lying import LyingWorld

FORWARD = ("Progressing", "Promoting", "Watching")


def examine_ends(world: LyingWorld, md: ModelDeployment, observed: Observed, decision: Decision, now: datetime) -> None:
    """All of them; `md` is the object that was decided on at `now`."""
    _examine_step(md, decision, now)
    _examine_verdicts(md, observed, decision, now)
    _examine_handover(world, md, decision)
    _examine_watch(md, decision, now)


def _examine_step(md: ModelDeployment, decision: Decision, now: datetime) -> None:
    old, new, spec = md.status.rollout, decision.status.rollout, md.spec.rollout
    is_waived = {event.reason for event in decision.events} & {"PromotedNow", "PromotedUndecided"}
    if old.phase != "Progressing" or is_waived or decision.status.candidate is None:
        return
    if new.phase == "Promoting" or (new.phase == "Progressing" and (new.step or 0) > (old.step or 0)):
        step = spec.steps[min(old.step or 0, len(spec.steps) - 1)]
        ends = (old.weight_changed_at or now) + parse_duration(step.hold)
        assert now >= ends, "a step is held"
        if step.weight:
            assert {check.name for check in new.checks if check.verdict == "Pass"} >= {c.name for c in spec.checks}
            assert new.checked_at, "a step is looked at"
            assert new.checked_at >= ends, "a step passes by a look at its whole hold"


def _examine_verdicts(md: ModelDeployment, observed: Observed, decision: Decision, now: datetime) -> None:
    """A check that fails is acted on in the pass that learns of it."""
    old, new = md.status, decision.status
    is_news = new.rollout.checked_at != old.rollout.checked_at
    failed = [
        check.name for check in new.rollout.checks if check.verdict == "Fail" and check.at == new.rollout.checked_at
    ]
    if not is_news or not failed or new.rollout.phase not in FORWARD:
        return
    before = old.previous if old.rollout.phase == "Watching" else old.stable
    can_go_back = before is not None and (old.rollout.phase == "Watching" or observed.pods(before.revision).ready > 0)
    assert not can_go_back, f"check {failed} failed, and nothing is done about it"


def _examine_handover(world: LyingWorld, md: ModelDeployment, decision: Decision) -> None:
    old, new = md.status, decision.status
    is_forward = (old.rollout.phase, new.rollout.phase) == ("Promoting", "Promoting")
    is_handed_over = is_forward and old.candidate and new.candidate is None and new.previous
    if not is_handed_over or not old.stable or not new.previous or old.rollout.strategy == "Recreate":
        return
    assert new.previous.replicas >= old.stable.replicas, "the old pods stay, warm"
    if has_route(md) and world.is_fair and len(world.routes) > world.proxy_lag:
        assert world.routes[-1 - world.proxy_lag].weight == 100, "the Service moves when proxies send nothing by it"


def _examine_watch(md: ModelDeployment, decision: Decision, now: datetime) -> None:
    old, new, spec = md.status.rollout, decision.status.rollout, md.spec.rollout
    if old.phase != "Watching" or not md.status.previous or not old.phase_started_at:
        return
    keep = parse_duration(spec.keep_stable_for)
    if new.phase == "Stable":
        lasts = max(keep, parse_duration(spec.watch_after_promotion))
        assert now - old.phase_started_at >= lasts, "the watch lasts as long as was asked for"
    if new.phase == "Watching" and decision.status.previous and now - old.phase_started_at < keep:
        assert decision.status.previous.replicas == md.status.previous.replicas, (
            "the old pods stay as long as was asked"
        )


@dataclass
class Losses:
    """Since when the candidate has lost all of its pods in one step, again and again."""

    where: Any = None
    first: datetime | None = None

    def take(self, world: LyingWorld, md: ModelDeployment, decision: Decision, now: datetime) -> None:
        """One decision."""
        candidate = decision.status.candidate
        surroundings = (world.skew, repr(world.spec), repr(world.annotations))
        where = (candidate and candidate.revision, decision.status.rollout.step, surroundings)
        if where != self.where:
            self.where, self.first = where, None
        if any(event.reason == "CandidateLost" for event in decision.events):
            self.first = self.first or now
            limit = step_limit(md) + (md.status.rollout.last_chances or 0) * LAST_CHANCE
            assert now - self.first <= limit, "pods that come and go are not waited for without end"
