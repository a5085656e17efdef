"""Kubernetes conditions: what stands in status, and when it last changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from haldane.api.status import Condition

READY = "Ready"
AVAILABLE = "Available"
RECONCILING = "Reconciling"
STALLED = "Stalled"
SUSPENDED = "Suspended"
UNDECIDABLE = "Undecidable"

_MESSAGE_LIMIT = 32768


@dataclass(frozen=True)
class Claim:
    """What a condition is to say."""

    type: str
    holds: bool
    reason: str
    message: str


def settle(claims: Iterable[Claim], before: Iterable[Condition], generation: int, now: datetime) -> list[Condition]:
    """The claims as conditions, in their order. `lastTransitionTime` moves only when a status changes.

    Times have second precision, as `metav1.Time` has: the API server and other controllers expect no more.
    """
    previous = {condition.type: condition for condition in before}
    made = []
    for claim in claims:
        status: Literal["True", "False"] = "True" if claim.holds else "False"
        old = previous.get(claim.type)
        moved = old is None or old.status != status
        made.append(
            Condition(
                type=claim.type,
                status=status,
                reason=claim.reason,
                message=claim.message[:_MESSAGE_LIMIT],
                last_transition_time=now.replace(microsecond=0) if old is None or moved else old.last_transition_time,
                observed_generation=generation,
            )
        )
    return made


def sentence(text: str) -> str:
    """A clause as a sentence: `version 2 serves` -> `Version 2 serves.`"""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def paragraph(*texts: str) -> str:
    """Clauses and sentences as one text; empty ones and those already said are left out."""
    said = ""
    for text in texts:
        following = sentence(text)
        if following and following not in said:
            said = f"{said} {following}" if said else following
    return said
