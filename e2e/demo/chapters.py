"""The story: what is applied, what must come of it, and how to tell that it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from haldane.api.v1alpha1 import ModelDeployment

Ending = Literal["served", "promoted", "rolled back"]


@dataclass(frozen=True)
class Chapter:
    """One version: the manifest that asks for it, what must come of it, by which check, and within how many seconds."""

    version: str
    title: str
    expected: Ending
    deadline: float
    check: str | None = None

    @property
    def manifest(self) -> str:
        """File name in the folder of examples."""
        return f"{self.version}.yaml"


CHAPTERS: Final = (
    Chapter("v1", "the first version goes straight to stable", "served", deadline=120),
    Chapter("v2", "a better version is promoted", "promoted", deadline=240),
    Chapter("v3-slow", "a slow version is rolled back on latency", "rolled back", deadline=180, check="p90"),
    Chapter("v4-broken", "a broken version is rolled back on errors", "rolled back", deadline=150, check="errors"),
)


@dataclass(frozen=True)
class Outcome:
    """How a chapter ended: what became of the version, which version is stable now, and the operator's own words."""

    ending: Ending
    stable: str
    message: str


@dataclass(frozen=True)
class Result:
    """A chapter that was played: `outcome` is None when its deadline came first. `seconds` from apply to outcome."""

    chapter: Chapter
    outcome: Outcome | None
    stable_before: str | None
    failed_checks: frozenset[str]
    seconds: float

    @property
    def complaint(self) -> str | None:
        """What is wrong with how it ended, as a sentence; None when it ended as it must."""
        if self.outcome is None:
            return f"{self.chapter.version} was not {self.chapter.expected} within {self.chapter.deadline:.0f} s"
        if self.outcome.ending != self.chapter.expected:
            return f"{self.chapter.version} was {self.outcome.ending}, not {self.chapter.expected}"
        expected_stable = self.stable_before if self.chapter.expected == "rolled back" else self.chapter.version
        if self.outcome.stable != expected_stable:
            return f"after {self.chapter.version} stable is {self.outcome.stable}, not {expected_stable}"
        check = self.chapter.check
        if check is not None and check not in self.failed_checks and check not in self.outcome.message:
            return f"{self.chapter.version} was rolled back, but not by the check {check}: {self.outcome.message}"
        return None


def outcome(deployment: ModelDeployment, version: str, generation: int, *, first: bool) -> Outcome | None:
    """What became of `version`, asked for by spec `generation`; None while that is open."""
    status = deployment.status
    settled = status.observed_generation == generation and status.rollout.phase == "Stable" and not status.candidate
    if not settled or status.stable is None:
        return None
    rejected = next((entry for entry in reversed(status.rejected) if entry.version == version), None)
    if rejected is not None:
        return Outcome("rolled back", status.stable.version, rejected.message)
    if status.stable.version != version or not _is_true(deployment, "Ready"):
        return None
    return Outcome("served" if first else "promoted", version, status.rollout.message)


def failing_checks(deployment: ModelDeployment) -> frozenset[str]:
    """Names of the checks whose last verdict is Fail."""
    return frozenset(check.name for check in deployment.status.rollout.checks if check.verdict == "Fail")


def _is_true(deployment: ModelDeployment, condition: str) -> bool:
    return any(each.type == condition and each.status == "True" for each in deployment.status.conditions)
