"""The cases, and what Haldane must do in each: the same app, client and limits for every controller."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bench.rivals.app import DEADLINE_SECONDS, HOLD_SECONDS, NEW, OLD, P99, Version
from bench.rivals.observed import Figures

PROMETHEUS: Final = "prometheus"
CONTROLLER: Final = "controller"
HALDANE: Final = "haldane"
EVERYBODY: Final = (HALDANE, "flagger", "argo")

Course = Literal["rollout", "idle", "outage", "kill", "kill early", "set back"]
"""`rollout`: nothing but the new version. `idle`: without a client. `outage`: Prometheus is away for a minute. `kill`: the
controller is killed at 25 %, `kill early` at the candidate's first answer. `set back`: the old version is applied again at 25 %."""


@dataclass(frozen=True)
class Must:
    """What one try of Haldane's must show: as text, and as a test of its figures."""

    text: str
    holds: Callable[[Figures], bool]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    key: str
    title: str
    new: Version
    must: Must
    shows: tuple[str, ...]
    """Names of the figures that tell the case, in the order in which they are shown."""
    old: Version = field(default_factory=lambda: Version(OLD))
    course: Course = "rollout"
    tries: int = 2
    limit: float = 240.0
    """Seconds after which a try ends undecided."""
    rollout: dict[str, Any] = field(default_factory=dict, compare=False)
    """Changes to Haldane's `spec.rollout`."""
    controllers: tuple[str, ...] = EVERYBODY

    @property
    def breaks(self) -> Collection[str]:
        """What part of the cluster the case breaks."""
        if self.course == "outage":
            return {PROMETHEUS}
        return {CONTROLLER} if self.course in ("kill", "kill early") else ()


def _promoted(figures: Figures) -> bool:
    return figures.outcome == "promoted"


def _rolled_back(figures: Figures) -> bool:
    return figures.outcome == "rolled back"


def _failed(figures: Figures) -> int:
    return figures.candidate_failed + figures.lost


def _within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


_DECIDED_BY: Final = HOLD_SECONDS + DEADLINE_SECONDS

CASES: Final = (
    Case(
        "1",
        "healthy",
        Version(NEW),
        Must(
            "at most 104 s, 2 pods, 0 failed",
            lambda f: _promoted(f) and _within(f.seconds, 104) and f.pods == 2 and not _failed(f),
        ),
        ("outcome", "seconds", "pods", "failed"),
    ),
    Case(
        "2",
        "canary fails 20 %",
        Version(NEW, errors=20),
        Must(
            "span at most 15 s, at most 15 failed",
            lambda f: _rolled_back(f) and _within(f.span, 15) and _failed(f) <= 15,
        ),
        ("outcome", "span", "failed", "seconds"),
        # How soon it is shown is a draw: two would tell little.
        tries=6,
    ),
    Case(
        "3",
        "canary 3 %, stable 1 %",
        Version(NEW, errors=3),
        Must("never promoted", lambda f: not _promoted(f)),
        ("outcome", "seconds", "candidate_failed"),
        old=Version(OLD, errors=1),
    ),
    Case(
        "3c",
        "the same, compared with stable: at most 0.5 points more",
        Version(NEW, errors=3),
        Must("never promoted", lambda f: not _promoted(f)),
        ("outcome", "seconds", "candidate_failed"),
        old=Version(OLD, errors=1),
        rollout={"checks": [{"name": "errors", "errorRate": {"max": "2%", "maxIncrease": "0.5%", "abort": "5%"}}, P99]},
        controllers=(HALDANE,),
    ),
    Case(
        "4",
        "canary 400 ms slower",
        # What comes first waits for all of it, what comes last for nothing: half of it on average.
        Version(NEW, delay=800),
        Must("at most 75 slow", lambda f: _rolled_back(f) and f.candidate_slow <= 75),
        ("outcome", "span", "candidate_slow", "candidate_requests"),
    ),
    Case(
        "5",
        "never ready",
        Version(NEW, broken=True),
        Must(
            "the deadline, and the pod's own reason",
            lambda f: (
                _rolled_back(f)
                and _within(f.seconds, DEADLINE_SECONDS + 15)
                and not f.candidate_requests
                and "InvalidModel" in f.reason
            ),
        ),
        ("outcome", "seconds", "reason"),
        limit=150,
    ),
    Case(
        "6",
        "no traffic, no series",
        Version(NEW),
        Must("held, with the reason", lambda f: f.outcome == "held" and "no requests arrive" in f.reason),
        ("outcome", "seconds", "reason"),
        course="idle",
        tries=1,
        limit=_DECIDED_BY + 30,
    ),
    Case(
        "6r",
        "the same with onInconclusive: Rollback",
        Version(NEW),
        Must(
            "the deadline decides",
            lambda f: _rolled_back(f) and f.seconds is not None and _DECIDED_BY <= f.seconds <= _DECIDED_BY + 25,
        ),
        ("outcome", "seconds", "reason"),
        course="idle",
        tries=1,
        limit=_DECIDED_BY + 60,
        rollout={"analysis": {"onInconclusive": "Rollback"}},
        controllers=(HALDANE,),
    ),
    Case(
        "7",
        "1.9 % errors on both sides",
        Version(NEW, errors=1.9),
        Must("promoted", _promoted),
        ("outcome", "seconds"),
        old=Version(OLD, errors=1.9),
        tries=3,
        limit=300,
    ),
    Case(
        "8",
        "Prometheus away for 60 s, healthy canary",
        Version(NEW),
        Must("held, then promoted, 0 failed", lambda f: _promoted(f) and not _failed(f)),
        ("outcome", "seconds", "failed"),
        course="outage",
        limit=300,
    ),
    Case(
        "9",
        "controller killed (SIGKILL) at 25 %",
        Version(NEW),
        Must("promoted, 0 failed", lambda f: _promoted(f) and not _failed(f)),
        ("outcome", "seconds", "failed", "pods"),
        course="kill",
        limit=300,
    ),
    Case(
        "9f",
        "2, and the controller killed at its first answer",
        Version(NEW, errors=20),
        Must("at most 30 failed", lambda f: _rolled_back(f) and _failed(f) <= 30),
        ("outcome", "failed", "span"),
        course="kill early",
    ),
    Case(
        "10",
        "old spec applied at 25 %",
        Version(NEW),
        Must(
            "weight 0 in 2 s, no pod made",
            lambda f: f.outcome != "promoted" and _within(f.span_after_change, 2) and f.pods_after_change == 0,
        ),
        ("outcome", "span_after_change", "pods_after_change"),
        course="set back",
    ),
)

APPLY_TO_POD: Final = 0.5
"""Seconds: at most so long from the apply to the first pod object."""
REST_MIB: Final = 150
REST_MILLICORES: Final = 5


def chosen(keys: Collection[str], controller: str) -> list[Case]:
    """The cases of a controller among `keys`; `9` also means `9f`, `3` also `3c`. All when there are none."""
    return [
        case
        for case in CASES
        if controller in case.controllers and (not keys or case.key in keys or case.key.rstrip("cfr") in keys)
    ]


def errors(cases: Collection[Case]) -> list[float]:
    """The shares of errors that the models of these cases need."""
    return sorted({version.errors for case in cases for version in (case.old, case.new)})
