"""What one rollout decision may look at, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from haldane.api.rollout import Step
from haldane.api.spec import ModelDeploymentSpec
from haldane.api.status import CheckStatus, ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.analysis import Analysis
from haldane.plan.annotations import paused
from haldane.plan.capacity import autoscaled, candidate_size, full_size, route_shows, whole
from haldane.plan.gates import Report
from haldane.plan.observed import Event, Observed, RevisionPods
from haldane.plan.rejection import standing_rejection
from haldane.plan.revision import Revision
from haldane.plan.strategy import current_step, step_index


@dataclass(frozen=True)
class Decision:
    """The next state, when to look again, and what to tell people."""

    status: ModelDeploymentStatus
    requeue_after: timedelta | None = None
    """None: only a change of the object or its children is reason to look again."""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Situation:
    """The object, the revision its spec asks for, what was seen, and the one instant that this pass decides at."""

    md: ModelDeployment
    target: Revision
    observed: Observed
    analysis: Analysis | None
    now: datetime
    gates: Report | None = None
    is_looking: bool = False
    """Whether a look at the checks is under way: what only its verdicts can decide is not decided without them."""

    @property
    def spec(self) -> ModelDeploymentSpec:
        """What the user asks for."""
        return self.md.spec

    @property
    def status(self) -> ModelDeploymentStatus:
        """The state that the pass before left."""
        return self.md.status

    @property
    def rollout(self) -> RolloutStatus:
        """Where the rollout stands."""
        return self.md.status.rollout

    @property
    def is_rejected(self) -> bool:
        """Whether the revision that spec asks for was rolled back and nobody asked, by a new token, to try it again."""
        return standing_rejection(self.md, self.status, self.target.name) is not None

    @property
    def wants_another(self) -> bool:
        """Whether spec asks for a revision that has no part in this rollout, that may be tried, and nobody holds it up."""
        known = (self.status.stable, self.status.candidate, self.status.previous)
        is_new = self.target.name not in [state.revision for state in known if state]
        return is_new and not self.is_rejected and not self.hold

    @property
    def hold(self) -> str | None:
        """Why nothing may go forward, as a clause: somebody paused the rollouts. None when nobody did."""
        return paused(self.md)

    def pods(self, revision: RevisionStatus | None) -> RevisionPods:
        """The pods of a revision in status."""
        return self.observed.pods(revision.revision) if revision else RevisionPods("", 0, 0)

    def full(self, revision: RevisionStatus | None) -> int:
        """Pods that carry all of the traffic, given what an autoscaler made of `revision`."""
        return full_size(self.md, self.observed, revision.revision if revision else None)

    @property
    def stable_size(self) -> int:
        """Pods that carried all of the traffic when this rollout began, or that do now, whichever is more."""
        return self.status.stable.replicas if self.status.stable else self.spec.scaling.min_replicas

    @property
    def may_go_back(self) -> bool:
        """Whether stable can take the candidate's requests: without a ready pod it would lose them all."""
        return self.pods(self.status.stable).ready > 0 or self.pods(self.status.candidate).ready == 0

    @property
    def failed(self) -> CheckStatus | None:
        """The check that demands a rollback: of this pass's look, or of the last one while stable has no pods to go back to."""
        if self.analysis:
            return self.analysis.failed(self.md)
        last = Analysis(self.now, tuple(self.rollout.checks), None)
        return last.failed(self.md) if self.rollout.stable_lost_at else None

    def since(self, moment: datetime | None) -> timedelta:
        """Time since a moment in status; 0 for one that is missing or, after a clock was set back, still to come."""
        return max(timedelta(0), self.now - moment) if moment else timedelta(0)

    @property
    def step_index(self) -> int:
        """The current step; the last one when steps were taken out of the spec meanwhile."""
        return step_index(self.md, self.rollout)

    @property
    def step(self) -> Step:
        """The current step."""
        return current_step(self.md, self.rollout)

    def needed(self, index: int) -> int:
        """Pods that the candidate needs for the weight of a step; all of them before a switch."""
        if self.rollout.strategy == "BlueGreen":
            return self.stable_size
        return candidate_size(self.md, self.spec.rollout.steps[index].weight, self.stable_size)

    def prepared(self, size: int, weight: int) -> int:
        """Pods to have before the weight rises to `weight`, which needs `size` of them by what stable has.

        When the candidate's own autoscaler has shown its share to need more, so does a larger one; and what was asked for
        stays asked for, until the weight is there.
        """
        candidate, carried = self.status.candidate, self.rollout.weight
        if candidate is None or not carried or candidate.revision not in autoscaled(self.md, self.status):
            return size
        pods = self.pods(candidate).replicas
        grown = whole(self.md, pods, carried) if pods > candidate.replicas else 0
        return max(size, candidate.replicas, candidate_size(self.md, weight, grown) if grown else 0)

    def route_shows(self, weight: int) -> bool:
        """Whether the cluster's canary route carries the weight; without a route there is nothing to wait for."""
        return route_shows(self.md, self.observed, weight)

    @property
    def is_unled(self) -> bool:
        """Whether requests are not led yet as status says: the operator was away before it could write that.

        What counts from a decision then counts from now: neither pods nor proxies have heard of it.
        """
        stable, leads = self.status.stable, self.observed.stable_leads
        return not (self.route_shows(self.rollout.weight) or self.is_led_back) or (
            stable is not None and leads not in (None, stable.revision)
        )

    @property
    def is_led_back(self) -> bool:
        """Whether the candidate's Service leads to stable: then it does no harm that the route does not give up its share."""
        stable, is_decided = self.status.stable, self.rollout.led_back_at is not None
        return is_decided and stable is not None and self.observed.candidate_leads == stable.revision


def sized(decision: Decision, replicas: int) -> Decision:
    """The decision with the pods that the candidate should have; a candidate that goes keeps what it has until it is gone."""
    candidate = decision.status.candidate
    if candidate is None or decision.status.rollout.phase == "RollingBack":
        return decision
    status = decision.status.model_copy(update={"candidate": candidate.model_copy(update={"replicas": replicas})})
    return Decision(status, decision.requeue_after, decision.events)
