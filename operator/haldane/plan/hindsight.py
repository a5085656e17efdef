"""After the switch stable answers nothing: the new version is then compared with what stable had before the rollout.

That is the time in which stable carried everything, as the new version does now. But other minutes bring other requests: a
rate or a latency may well rise by itself. So the past is a witness of rough things only: what it had, half as much again, and
the allowance on top of that.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from haldane.api.status import RolloutStatus
from haldane.plan.proportions import Counts

SPAN = timedelta(hours=1)
"""How much of stable's past is counted."""
SLACK = 1.5
"""So many times what stable had, before its allowance begins."""
SAME_TIME_OF_DAY = timedelta(hours=6)
"""A rollout that took longer is compared with the same hour of the last day before it began."""
_DAY = timedelta(days=1)


def comparable(rollout: RolloutStatus) -> datetime | None:
    """The end of the `SPAN` that a version at all of the traffic is compared with; None when the rollout has no beginning.

    It follows from status alone and stays where it is: counts that were compared once must not move.
    """
    begun, switched = rollout.started_at, rollout.weight_changed_at
    if begun is None or switched is None:
        return None
    if switched - begun <= SAME_TIME_OF_DAY:
        return begun
    return switched - math.ceil((switched - begun) / _DAY) * _DAY


def with_slack(counts: Counts) -> Counts:
    """Stable's past counts as the baseline that they allow: `SLACK` times the share, known no better than its hits are."""
    return Counts(counts.hits, counts.requests / SLACK)
