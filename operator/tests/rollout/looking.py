"""Looks at the checks beside the passes, as `control.looks` takes them: asked in one pass, answered in one that comes later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.analysis import Analysis, judge
from haldane.plan.asking import instant, look_due, queries
from haldane.plan.observed import Observed

if TYPE_CHECKING:
    from .lying import LyingWorld

FRESH = timedelta(seconds=1)
"""A look that is no older is decided on at its own instant."""
STALE = timedelta(seconds=15)
"""A look that is older is taken again."""


class Look(NamedTuple):
    """What was asked of Prometheus, and what it will have answered in some second."""

    question: Any
    at: datetime
    second: int
    analysis: Analysis | None


def look(world: LyingWorld, sight: ModelDeployment, md: ModelDeployment, clock: datetime) -> Look | None:
    """The look that is due, begun when none is under way. `sight` is the object as it was seen, `md` as it is decided on."""
    states = (sight.status.stable, sight.status.candidate, sight.status.previous)
    question = (sight.spec, sight.status.rollout, [state and state.revision for state in states])
    known = world.look
    is_ours = known is not None and (world.heedless or known.question == question)
    if known and is_ours and (known.second > world.second or clock - known.at <= STALE):
        # Where no question is compared it would be the answer to all that follow.
        world.look = None if world.heedless and known.second <= world.second else known
        return known
    at = look_due(md, clock)
    if at is None:
        world.look = None
        return None
    answers = {key: world.answer(promql, clock - instant(md, key, at)) for key, promql in queries(md, at).items()}
    world.look = Look(question, at, world.second + world.late, judge(md, answers, at))
    return world.look


def is_urgent(md: ModelDeployment, status: ModelDeploymentStatus, observed: Observed) -> bool:
    """Whether a decision is carried out though answers are awaited: requests are taken from pods, or a rollout goes back."""
    before, after = md.status.rollout.phase, status.rollout.phase
    back = after == "RollingBack" or (after == "Preparing" and before in ("Progressing", "Promoting"))
    return reroutes(md, status, observed) or (before != after and back)


def reroutes(md: ModelDeployment, status: ModelDeploymentStatus, observed: Observed) -> bool:
    """Whether requests are taken from pods that serve, which nothing may hold up."""
    before = md.status
    less = status.rollout.weight < max(before.rollout.weight, observed.route_weight or 0)
    return less or bool(before.stable and status.stable and before.stable.revision != status.stable.revision)
