"""When an object is looked at: at instants of its own, so that a thousand objects never ask at one instant.

Each object has a phase that its UID decides, so restarts, outages and a thousand objects that are changed at once leave no
trace in it: whatever made them wait for one another, the next looks are spread again. Objects of one phase are looked at
about the very same instants, which lets them share queries.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zlib import crc32

SLOT = timedelta(seconds=1)
"""Phases are so far apart: what is due within it is asked together."""
_TICK = timedelta(milliseconds=1)
"""What a time in status is true to."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def next_look(uid: str, last: datetime, interval: timedelta) -> datetime:
    """When to look again after `last`: the latest of the object's own instants that is no more than `interval` away.

    Its instants are half an interval apart. So the next look is never late, never sooner than after half an interval, and
    from then on one follows the other after exactly an interval.
    """
    half = interval // 2 // _TICK * _TICK
    phase = crc32(uid.encode()) % max(1, half // SLOT) * SLOT
    return _EPOCH + phase + (last + interval - _EPOCH - phase) // half * half


def instant_of(due: datetime, now: datetime) -> datetime:
    """What instant a look that is due is about: when it was due, or, when that is long past, a time that others share."""
    return due if now - due < SLOT else now - (now - _EPOCH) % SLOT
