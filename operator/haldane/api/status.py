"""`ModelDeployment.status`: what the operator decided and what it saw.

All that a rollout must remember stands here: the operator keeps no other state, so it can be killed at any instruction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer

from haldane.api.base import ApiModel, list_map

Phase = Literal["Initializing", "Stable", "Preparing", "Progressing", "Promoting", "Watching", "RollingBack"]
Verdict = Literal["Pass", "Fail", "Inconclusive"]
Outcome = Literal["Promoted", "RolledBack", "Superseded", "Aborted"]


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-01-01T00:00:00Z")
    return moment.astimezone(UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


Time = Annotated[datetime, AfterValidator(_in_utc), PlainSerializer(_rfc3339, return_type=str)]


class Written(ApiModel, extra="ignore"):
    """A part of status: what a newer operator wrote there must not keep an older one from going on with the rest."""


class Condition(Written):
    """A Kubernetes condition, read by `kubectl wait`, Argo CD and Flux (kstatus)."""

    type: str = Field(description="What it speaks of.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="One word for programs.")
    message: str = Field(max_length=32768, description="A sentence for people.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int | None = Field(None, description="Generation that this speaks of.")


class RevisionStatus(Written):
    """One revision and its pods."""

    revision: str = Field(description="Hash in its children's names.")
    version: str = Field(description="The user's name for it.")
    digest: str | None = Field(None, description="The digest that spec gives.")
    replicas: int = Field(0, description="Pods it should have.")
    ready_replicas: int = Field(0, description="Ready pods.")
    signature: str | None = Field(None, description="The operator's own.")


class CheckStatus(Written):
    """The last evaluation of one check."""

    name: str = Field(description="Name of the check in spec.")
    verdict: Verdict = Field(description="Pass, Fail or Inconclusive.")
    value: str | None = Field(None, description="Measured for the candidate.")
    baseline: str | None = Field(None, description="Measured for stable.")
    limit: str | None = Field(None, description="What value was held against.")
    requests: int | None = Field(None, description="Candidate requests that it rests on.")
    detectable: str | None = Field(None, description="Smallest true value called too high 4 times in 5.")
    failures: int = Field(0, description="Failures since it last passed.")
    at: Time = Field(description="When it was evaluated.")
    message: str = Field(description="The verdict as a sentence.")
    evidence: str | None = Field(None, description="The operator's own.")


class GateStatus(Written):
    """What was found of the candidate before it got any traffic."""

    name: str = Field(description="signature, answers or latency.")
    verdict: Literal["Pass", "Fail", "Inconclusive", "Skipped"] = Field(description="Inconclusive is asked again.")
    message: str = Field(description="The verdict as a sentence.")
    errors: int | None = Field(
        None, description="Answers with a 5xx code, or none in time, which metrics count as well."
    )
    since: Time = Field(description="When it was first asked.")
    at: Time = Field(description="When it was last asked.")


class RolloutStatus(Written):
    """Where the rollout stands."""

    phase: Phase = Field("Initializing", description="What is being done.")
    strategy: str | None = Field(None, description="BlueGreen or Recreate, when it began as one.")
    step: int | None = Field(None, description="Index into spec.rollout.steps, from 0.")
    weight: int = Field(0, description="Per cent of the requests for the candidate.")
    observed_weight: str | None = Field(None, description="Per cent of the requests that the candidate answered.")
    started_at: Time | None = Field(None, description="When this rollout began.")
    phase_started_at: Time | None = Field(None, description="When this phase began.")
    weight_changed_at: Time | None = Field(None, description="When weight or the stable revision last changed.")
    step_started_at: Time | None = Field(None, description="When the step's hold began.")
    route_awaited_at: Time | None = Field(None, description="Since when the route, or a Service, is waited for.")
    led_back_at: Time | None = Field(None, description="Since when the candidate's Service leads to stable.")
    share_left_at: Time | None = Field(None, description="When a candidate without pods first kept a share.")
    asked_anew_at: Time | None = Field(None, description="When what is waited for was asked for anew.")
    lost_at: Time | None = Field(None, description="When pods were first missed.")
    back_at: Time | None = Field(None, description="Since when the old version has ready pods again.")
    stable_lost_at: Time | None = Field(None, description="Since when stable has had no ready pod.")
    last_chances: int | None = Field(None, description="How often what was overdue unseen was waited for once more.")
    approved: str | None = Field(None, description="Who approved the current step.")
    waived: str | None = Field(None, description="Why steps count as passed that were not.")
    seen: str | None = Field(None, description="What the steps that passed would have seen.")
    checked_at: Time | None = Field(None, description="When the checks were last evaluated.")
    checks: list[CheckStatus] = Field(
        default_factory=list, description="Last evaluation of each check.", json_schema_extra=list_map("name")
    )
    gates: list[GateStatus] = Field(
        default_factory=list, description="What was asked before any traffic.", json_schema_extra=list_map("name")
    )
    message: str = Field("", description="What the rollout is doing or waiting for.")


class Rejected(Written):
    """A revision that was rolled back and is not tried again by itself."""

    revision: str = Field(description="Hash of the revision.")
    version: str = Field(description="The user's name for it.")
    reason: str = Field(description="One word for programs.")
    message: str = Field(description="Why it was rolled back.")
    at: Time = Field(description="When it was rolled back.")
    retry: str = Field("", description="Value of haldane.dev/retry that is spent for it.")


class HistoryEntry(Written):
    """A rollout that has ended."""

    revision: str = Field(description="Hash of the revision.")
    version: str = Field(description="The user's name for it.")
    outcome: Outcome = Field(description="Promoted, RolledBack, Superseded or Aborted.")
    started_at: Time = Field(description="When it began.")
    finished_at: Time = Field(description="When it ended.")
    message: str = Field(description="How it ended.")


class ModelDeploymentStatus(Written):
    """What the operator decided and what it saw."""

    observed_generation: int | None = Field(None, description="Generation that this status answers.")
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, Available, and while they hold Reconciling, Stalled, Suspended and Undecidable.",
        json_schema_extra=list_map("type"),
    )
    url: str | None = Field(None, description="Where clients reach the model.")
    replicas: int = Field(0, description="Pods of the stable revision.")
    selector: str | None = Field(None, description="Selector of the stable pods, for autoscalers.")
    stable: RevisionStatus | None = Field(None, description="The revision that serves.")
    candidate: RevisionStatus | None = Field(None, description="The revision that is being rolled out.")
    previous: RevisionStatus | None = Field(None, description="The revision before, kept warm for an instant undo.")
    rollout: RolloutStatus = Field(default_factory=RolloutStatus, description="Where the rollout stands.")
    verbs: dict[str, str] | None = Field(None, description="Values of the verbs' annotations, once acted on.")
    rejected: list[Rejected] = Field(default_factory=list, description="Revisions rolled back, newest last.")
    history: list[HistoryEntry] = Field(default_factory=list, description="Rollouts that ended, newest last.")
