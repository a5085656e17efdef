"""Checks without a verdict -> what a person should know and may do about it."""

from __future__ import annotations

import math
from datetime import timedelta

from haldane.api.quantity import parse_duration
from haldane.api.status import CheckStatus, ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.annotations import awaits_approval
from haldane.plan.conditions import paragraph
from haldane.plan.deadlines import deadline
from haldane.plan.decidable import unknown_metrics
from haldane.plan.strategy import checks_decide, current_step

_AT_THE_DEADLINE = {
    "Hold": "it goes on by itself once they are decided",
    "Promote": "at the deadline of the step it goes on without them, as onInconclusive asks",
    "Rollback": "at the deadline of the step it is rolled back, as onInconclusive asks",
}


def undecided(md: ModelDeployment, status: ModelDeploymentStatus) -> str:
    """Which checks cannot be decided, why, and what ends that, as sentences; empty when all are decided."""
    rollout = status.rollout
    if rollout.phase not in ("Progressing", "Promoting", "Watching"):
        return ""
    by_reason: dict[str, list[CheckStatus]] = {}
    for check in rollout.checks:
        # Nothing was asked at a weight that has just changed, and so nothing is left undecided.
        is_looked_at = rollout.weight_changed_at is None or check.at > rollout.weight_changed_at
        if check.verdict == "Inconclusive" and is_looked_at:
            by_reason.setdefault(check.message, []).append(check)
    if not by_reason:
        return ""
    # What the rollout says itself need not be said twice.
    why = [
        f"{_named(checks)} undecided: {reason}" for reason, checks in by_reason.items() if reason not in rollout.message
    ]
    return paragraph(
        *why,
        *_advice(md, status, [check for checks in by_reason.values() for check in checks]),
        _consequence(md, status),
    )


def _named(checks: list[CheckStatus]) -> str:
    together = ", ".join(check.name for check in checks)
    return f"check {together} is" if len(checks) == 1 else f"checks {together} are"


def _advice(md: ModelDeployment, status: ModelDeploymentStatus, checks: list[CheckStatus]) -> list[str]:
    analysis, rollout = md.spec.rollout.analysis, status.rollout
    made = []
    if any("Prometheus gave no answer" in check.message for check in checks):
        made.append("check that Prometheus runs and that the operator's Prometheus address leads to it")
    # Before a whole window has passed at this weight, few requests are what is to be expected.
    settled = parse_duration(analysis.warmup) + parse_duration(analysis.window)
    begun, looked = rollout.weight_changed_at, rollout.checked_at
    waited = begun is not None and looked is not None and looked - begun >= settled
    few = [check.requests for check in checks if check.requests is not None and check.requests < analysis.min_requests]
    if waited and few:
        made.append(
            _until_enough(md, status, min(few)) or "send more requests, or lower spec.rollout.analysis.minRequests"
        )
    made += [sentence for check in checks for sentence in unknown_metrics(md, check.name)]
    return made


def _until_enough(md: ModelDeployment, status: ModelDeploymentStatus, requests: int) -> str:
    """That the requests come too slowly for this step ever to be decided; empty when they do not, or none came."""
    analysis, rollout = md.spec.rollout.analysis, status.rollout
    ends = deadline(md.model_copy(update={"status": status}))
    if not requests or ends is None or rollout.checked_at is None or rollout.weight_changed_at is None:
        return ""
    counted = rollout.checked_at - rollout.weight_changed_at - parse_duration(analysis.warmup)
    missing = counted * (analysis.min_requests - requests) / requests
    if rollout.checked_at + missing <= ends:
        return ""
    minutes = math.ceil(missing / timedelta(minutes=1))
    return (
        f"as slowly as requests come, {analysis.min_requests} will not have come before the step's deadline, but in {minutes} min:"
        " raise the step's weight, send more requests, or lower spec.rollout.analysis.minRequests"
    )


def _consequence(md: ModelDeployment, status: ModelDeploymentStatus) -> str:
    rollout = status.rollout
    if rollout.phase != "Progressing":
        return "undecided checks roll nothing back"
    step = current_step(md, rollout)
    if not checks_decide(md, step) or rollout.message == awaits_approval(md, rollout):
        return "undecided checks hold nothing up here: the step ends with its approval"
    consequence = "undecided checks hold the rollout; " + _AT_THE_DEADLINE[md.spec.rollout.analysis.on_inconclusive]
    is_open = step.approval and not rollout.approved and md.spec.rollout.analysis.on_inconclusive == "Promote"
    return consequence + (", once it is approved" if is_open else "")
