"""What is told by Events of a rollout that lacks a verdict: once for each reason, not at every look.

What was told is read off the status before, so that an operator that was killed tells nothing twice.
"""

from __future__ import annotations

import re
from datetime import timedelta

from haldane.api.quantity import parse_duration
from haldane.api.status import CheckStatus, ModelDeploymentStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.conditions import paragraph
from haldane.plan.deadlines import deadline
from haldane.plan.observed import Event
from haldane.plan.strategy import checks_decide, current_step
from haldane.plan.undecided import undecided

REASON = "Undecided"

_OUTAGE = "gave no answer"
_NO_SHARE = ("holding, ", "waiting until the observed share")
_SHARE_ADVICE = (
    "the step's hold begins when the candidate has its share",
    "see that requests come, that Prometheus scrapes the pods, and that the ingress controller gives the candidate its weight",
)
_FIGURES = re.compile(r"[0-9.]+")


def undecided_events(md: ModelDeployment, after: ModelDeploymentStatus) -> tuple[Event, ...]:
    """A Warning when a reason why checks have no verdict, or why a step does not begin, has come up since `md.status`.

    What every step has for a moment is none: that it warms up, that the first requests are few.
    """
    reasons = _reasons(md, after)
    if reasons <= _reasons(md, md.status):
        return ()
    rollout = after.rollout
    text = paragraph(rollout.message, undecided(md, after) or paragraph(*_SHARE_ADVICE))
    return (Event("Warning", REASON, text, topic="; ".join(sorted(reasons))),)


def _reasons(md: ModelDeployment, status: ModelDeploymentStatus) -> frozenset[str]:
    """Why there is no verdict, without figures: they change from look to look."""
    rollout = status.rollout
    changed, looked = rollout.weight_changed_at, rollout.checked_at
    if rollout.phase not in ("Progressing", "Watching") or changed is None or looked is None or looked <= changed:
        return frozenset()
    if not _counts(md, rollout):
        return frozenset()
    is_settled = looked - changed >= _warmup(md) + parse_duration(md.spec.rollout.analysis.window)
    found = [
        check.message
        for check in rollout.checks
        if check.verdict == "Inconclusive"
        and check.at > changed
        and (_OUTAGE in check.message or (is_settled and not _may_come(md, status, check)))
    ]
    has_no_share = rollout.phase == "Progressing" and rollout.weight > 0 and rollout.step_started_at is None
    held = rollout.message.removeprefix(f"weight {rollout.weight}%: ")
    if has_no_share and held.startswith(_NO_SHARE) and (is_settled or _OUTAGE in held):
        found.append(held.removeprefix("holding, "))
    return frozenset(f"{rollout.phase}: {_FIGURES.sub('', reason)}" for reason in found)


def _counts(md: ModelDeployment, rollout: RolloutStatus) -> bool:
    """Whether anybody waits for the verdicts: not in a step that a person alone decides."""
    return rollout.phase == "Watching" or checks_decide(md, current_step(md, rollout))


def _may_come(md: ModelDeployment, status: ModelDeploymentStatus, check: CheckStatus) -> bool:
    """Whether all that is missing are requests, which come in time as fast as they have come so far."""
    rollout, minimum = status.rollout, md.spec.rollout.analysis.min_requests
    changed, looked = rollout.weight_changed_at, rollout.checked_at
    if not check.requests or check.requests >= minimum or changed is None or looked is None:
        return False
    ends = deadline(md.model_copy(update={"status": status}))
    if rollout.phase == "Watching":
        ends = changed + parse_duration(md.spec.rollout.watch_after_promotion)
    elif looked >= (rollout.step_started_at or changed) + parse_duration(current_step(md, rollout).hold):
        return False
    missing = (looked - changed - _warmup(md)) * (minimum - check.requests) / check.requests
    return ends is None or looked + missing <= ends


def _warmup(md: ModelDeployment) -> timedelta:
    return parse_duration(md.spec.rollout.analysis.warmup)
