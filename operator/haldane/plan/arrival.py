"""Has the candidate the share of the requests that its weight promises, and since when? Its step's hold begins with it."""

from __future__ import annotations

import math
from datetime import datetime

from haldane.api.status import RolloutStatus
from haldane.plan import transitions as to
from haldane.plan.analysis import Analysis
from haldane.plan.asking import SHARE_INTERVAL
from haldane.plan.capacity import expected_share
from haldane.plan.situation import Decision, Situation
from haldane.plan.stand_alone import NOT_COMPARED, is_alone
from haldane.plan.strategy import previews

SHARE_TOLERANCE = 0.01
"""How far the observed share may be from the weight beside its own sampling noise (three standard deviations)."""
PART = 0.5
"""At a small weight, so much of it, that a route which carries nothing is not within it."""
ENOUGH = 5.0
"""So many requests of the candidate must be due before their lack shows that it gets none."""

PROMPTLY = 2 * SHARE_INTERVAL
"""How long after a change of the weight its share may be first seen and still count from the change."""


def hold_began(s: Situation) -> datetime:
    """Since when the candidate has had its share, now that it is seen.

    Seen at one of the first looks, it has been there since the weight was changed, and Prometheus was what came late; seen
    after that, nobody knows since when, so the hold begins now.
    """
    changed = s.rollout.weight_changed_at
    return changed if changed and s.since(changed) <= PROMPTLY else s.now


def share_missing(s: Situation, analysis: Analysis, weight: int) -> str | None:
    """Why the step's clock cannot start yet; None when the observed share is near what the weight should give.

    Where there are no checks, nobody has to know the requests: what Prometheus cannot say is not waited for then.
    """
    share, judges = analysis.share, bool(s.spec.rollout.checks)
    if not judges and (share is None or share.total == 0):
        return None
    if share is None and analysis.outage:
        return f"weight {weight}%: holding, Prometheus gave no answer: {analysis.outage}"
    if share is None and analysis.is_sparse:
        window = s.spec.rollout.analysis.window
        return (
            f"weight {weight}%: holding, Prometheus has fewer than two samples of each pod in {window}:"
            " raise spec.rollout.analysis.window to several times its scrape interval"
        )
    if share is None:
        return f"weight {weight}%: holding, Prometheus has no samples of it yet; it must scrape the model's pods"
    if share.total == 0:
        return f"weight {weight}%: holding, no requests arrive; the step begins with the first ones"
    expected = expected_share(s.md, weight, s.pods(s.status.candidate).ready, s.pods(s.status.stable).ready)
    observed = share.candidate / share.total
    noise = 3 * math.sqrt(expected * (1 - expected) / share.total)
    missing = expected - observed
    # A header of its own brings the candidate more than its share, and pods that stable does not have answer nothing of theirs:
    # then only too little is a sign of a route that lags.
    may_have_more = previews(s.md) or is_alone(s.rollout, s.now)
    is_near = (missing if may_have_more else abs(missing)) <= noise + min(SHARE_TOLERANCE, PART * expected)
    gets_none = share.candidate == 0 and expected > 0 and (judges or expected * share.total >= ENOUGH)
    if is_near and not gets_none:
        return None
    return f"weight {weight}%: waiting until the observed share is near {expected:.0%}"


def told_alone(before: RolloutStatus, s: Situation, decision: Decision) -> Decision:
    """The decision, with a word to people when this look is the first without stable; `before` is what the last one left."""
    stable, candidate, lost = s.status.stable, decision.status.candidate, s.rollout.stable_lost_at
    goes_on = candidate is not None and decision.status.rollout.phase in ("Progressing", "Promoting")
    if stable is None or candidate is None or lost is None or not s.analysis or not goes_on:
        return decision
    last = before.checked_at if before.stable_lost_at == lost else None
    if not is_alone(s.rollout, s.analysis.at) or (last is not None and is_alone(s.rollout, last)):
        return decision
    text = (
        f"No pod of version {stable.version} has been ready since {lost:%H:%M:%S} UTC: version {candidate.version} goes on"
        " without comparison, by its absolute limits alone."
    )
    return to.with_event(decision, "Warning", "StableUnavailable", text)


def passed_alone(s: Situation) -> str | None:
    """What the history should say of a step that has passed by verdicts without stable; None when it was compared."""
    if s.status.stable is None or not any(NOT_COMPARED in check.message for check in s.rollout.checks):
        return None
    version = s.status.stable.version
    return f"went on at weight {s.rollout.weight}% by absolute limits alone, as no pod of version {version} was ready"
