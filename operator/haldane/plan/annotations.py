"""The verbs' annotations, as they stand: what is asked for, by whom, and the command that asks."""

from __future__ import annotations

from typing import Any, Literal

from haldane.api.base import GROUP
from haldane.api.status import RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment

Verb = Literal["approve", "pause", "abort", "promote", "retry"]

LONGEST = 128
"""Characters of a value that count."""
USER = "haldane:"
"""How the field manager of Haldane's own command line begins; what follows is the user's name."""


def asked(md: ModelDeployment, verb: Verb) -> str:
    """The value of a verb's annotation; empty when there is none, or when it says `false`."""
    value = md.metadata.annotations.get(f"{GROUP}/{verb}", "").strip()
    return "" if value.lower() == "false" else value[:LONGEST]


def author(md: ModelDeployment, verb: Verb) -> str:
    """Who set the annotation, as the API server's field managers tell: a user of the command line, or a tool; else empty."""
    setters = [
        entry
        for entry in md.metadata.managed_fields
        if f"f:{GROUP}/{verb}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
    ]
    latest: dict[str, Any] = max(setters, key=lambda entry: str(entry.get("time", "")), default={})
    return str(latest.get("manager", "")).removeprefix(USER)


def command(md: ModelDeployment, change: str) -> str:
    """The command that changes an annotation, between backquotes: what ends the sentence is no part of it."""
    return f"`kubectl annotate mdep {md.metadata.name} -n {md.metadata.namespace} {GROUP}/{change}`"


def paused(md: ModelDeployment) -> str | None:
    """Who holds the rollouts and why, and what lets them go on, as a clause; None when nobody does."""
    value = asked(md, "pause")
    if not value:
        return None
    reason = "" if value.lower() == "true" else f" ({value})"
    return f"paused{by(md, 'pause')}{reason}; to go on: {command(md, 'pause-')}"


def awaits_approval(md: ModelDeployment, rollout: RolloutStatus) -> str:
    """What a step says that only waits for a person."""
    number = (rollout.step or 0) + 1
    revision = md.status.candidate.revision if md.status.candidate else ""
    approve = command(md, f"approve={revision}-{number} --overwrite")
    return f"weight {rollout.weight}%: step {number} waits for approval: {approve}"


def by(md: ModelDeployment, verb: Verb) -> str:
    """` by <author>`, to go on a sentence with; empty when nobody is known."""
    name = author(md, verb)
    return f" by {name}" if name else ""
