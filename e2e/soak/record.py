"""What was seen of one place, put into the order in which the API server had it, and of the faults. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from haldane.api.v1alpha1 import ModelDeployment

Body = dict[str, Any]

WEIGHT: Final = "nginx.ingress.kubernetes.io/canary-weight"
_REVISION: Final = "haldane.dev/revision"


@dataclass(frozen=True)
class Pod:
    """A pod of a revision: whether requests may go to it, and whether it ends or has ended."""

    uid: str
    revision: str
    ready: bool
    ending: bool


@dataclass(frozen=True)
class Selection:
    """The revision that a Service leads to; None when it is gone."""

    service: str
    revision: str | None


@dataclass(frozen=True)
class Weight:
    """What the canary route sends to the candidate's Service, in per cent."""

    weight: int


Fact = Pod | Selection | Weight | ModelDeployment


@dataclass(frozen=True)
class Seen:
    """A fact, the resourceVersion that brought it (all kinds count by one clock), and when it was heard of, in seconds."""

    version: int
    at: float
    fact: Fact


@dataclass(frozen=True)
class Failure:
    """A failed request: when it was sent, the version that answered it so (`nobody` when none did), and what came."""

    at: float
    version: str
    why: str


@dataclass(frozen=True)
class Span:
    """A stretch of time, in seconds."""

    begin: float
    end: float

    def within(self, begin: float, end: float) -> float:
        """How much of it lies between two times."""
        return max(0.0, min(self.end, end) - max(self.begin, begin))


def total(spans: Iterable[Span], begin: float, end: float) -> float:
    """How much of the time between two moments the spans cover; they do not overlap each other."""
    return sum(span.within(begin, end) for span in spans)


@dataclass
class Record:
    """All of one place, and what was broken meanwhile."""

    name: str
    seen: list[Seen] = field(default_factory=list)
    closed: bool = False
    """Whether what comes now is no matter: the end of everything is no rollout."""
    deleted: list[Span] = field(default_factory=list)
    """While kubectl deleted a pod by hand."""
    failures: list[Failure] = field(default_factory=list)

    def take(self, at: float, kind: str, event: str, body: Body) -> None:
        """A watch event: ADDED, MODIFIED or DELETED, with the object; `kind` is one of KINDS."""
        fact = KINDS[kind](body, event == "DELETED")
        if fact is not None and not self.closed:
            self.seen.append(Seen(int(body["metadata"]["resourceVersion"]), at, fact))

    def in_order(self) -> list[Seen]:
        """As the API server had it: watches of different kinds may be heard of one before the other."""
        return sorted(self.seen, key=lambda seen: seen.version)

    def states(self) -> list[tuple[float, ModelDeployment]]:
        """The states of the ModelDeployment, with their times."""
        return [(seen.at, seen.fact) for seen in self.in_order() if isinstance(seen.fact, ModelDeployment)]


PHASES: Final = ("Preparing", "Progressing", "Promoting", "handover", "Watching", "RollingBack")
"""Those of a rollout; `handover` is Promoting once the stable Service has been pointed at the candidate's pods."""


def phases_at(instants: Iterable[float], states: Sequence[tuple[float, ModelDeployment]]) -> Counter[str]:
    """In which phases a ModelDeployment was at some instants; those before its first state are left out."""
    times = [at for at, _ in states]
    met = (bisect_right(times, instant) - 1 for instant in instants)
    return Counter(_phase(states[index][1]) for index in met if index >= 0)


def _phase(md: ModelDeployment) -> str:
    phase = str(md.status.rollout.phase)
    return "handover" if phase == "Promoting" and md.status.previous is not None else phase


def _pod(body: Body, gone: bool) -> Pod | None:
    revision = body["metadata"].get("labels", {}).get(_REVISION)
    if revision is None:
        return None
    conditions = body.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    ending = gone or bool(body["metadata"].get("deletionTimestamp"))
    return Pod(body["metadata"]["uid"], revision, ready and not ending, ending)


def _selection(body: Body, gone: bool) -> Selection:
    selector = {} if gone else body["spec"].get("selector") or {}
    return Selection(body["metadata"]["name"], selector.get(_REVISION))


def _weight(body: Body, gone: bool) -> Weight | None:
    if not body["metadata"]["name"].endswith("-candidate"):
        return None
    return Weight(0 if gone else int(body["metadata"].get("annotations", {}).get(WEIGHT, 0)))


KINDS: Final[dict[str, Callable[[Body, bool], Fact | None]]] = {
    "pods": _pod,
    "services": _selection,
    "ingresses": _weight,
}
