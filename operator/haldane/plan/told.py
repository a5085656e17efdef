"""All that a pass tells people: what was decided, and what is new in the status that it wrote."""

from __future__ import annotations

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.observed import Event, Observed
from haldane.plan.reading import flaw_events
from haldane.plan.rehearsal import doubt_events
from haldane.plan.situation import Decision
from haldane.plan.status import problem_events
from haldane.plan.stuck import stuck_events
from haldane.plan.undecided_events import undecided_events


def told(
    md: ModelDeployment, decision: Decision, status: ModelDeploymentStatus, observed: Observed, flaw: str | None
) -> tuple[Event, ...]:
    """The Events of a pass that took `md` and wrote `status` for its `decision`; `flaw` as in `status.compose`."""
    before = md.status
    return (
        *decision.events,
        *problem_events(before, decision.status, observed),
        *doubt_events(before, status),
        *undecided_events(md, status),
        *stuck_events(before, status),
        *flaw_events(flaw, (condition.message for condition in before.conditions)),
    )
