"""What was seen, as the decisions need it: pods by revision, endpoints, the route, and Prometheus' answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """Why a revision's pods are not ready, from the pods themselves, for example `ImagePullBackOff`."""

    reason: str
    message: str
    crashed: bool = False
    """True when a container of it ended by itself: it started and could not go on."""


@dataclass(frozen=True)
class Crash:
    """The last run of a container that ended by itself."""

    node: str
    """Name of the node that it ran on."""
    began: datetime
    ended: datetime
    is_first: bool
    """Whether no run of it in this pod had ended before."""
    problem: Problem


@dataclass(frozen=True)
class RevisionPods:
    """What the cluster holds of one revision."""

    revision: str
    replicas: int
    """`spec.replicas` of its Deployment."""
    ready: int
    """Ready replicas, as the Deployment counts them."""
    problem: Problem | None = None
    present: int = 0
    """Pods that exist, those included that are ending: what they hold is not free yet."""
    askable: tuple[str, ...] = ()
    """The pods that are ready, in order, each as `name:port` of its runtime's HTTP."""
    crashes: tuple[Crash, ...] = ()
    """How containers of the pods ended that are still there, whether others are ready or not."""


@dataclass(frozen=True)
class Observed:
    """One look at the children of a ModelDeployment."""

    revisions: Mapping[str, RevisionPods] = field(default_factory=dict)
    stable_endpoints: Mapping[str, int] = field(default_factory=dict)
    """Ready endpoints behind the stable Service, by revision."""
    candidate_endpoints: Mapping[str, int] = field(default_factory=dict)
    """Ready endpoints behind the candidate Service, by revision."""
    stable_leads: str | None = None
    """The revision that the stable Service selects; empty when it selects more than one, None when it is not there."""
    candidate_leads: str | None = None
    """The same of the candidate Service."""
    route_weight: int | None = None
    """Weight that the canary route on the cluster carries now; None when there is no such route."""

    def pods(self, revision: str) -> RevisionPods:
        """The revision's pods; none of them when it has no Deployment."""
        return self.revisions.get(revision, RevisionPods(revision, replicas=0, ready=0))


@dataclass(frozen=True)
class Series:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float
    """May be NaN or infinite: what that means is for the decision to say."""


@dataclass(frozen=True)
class Unavailable:
    """Prometheus gave no usable answer: down, too slow, or a query it refuses. `reason` is a sentence."""

    reason: str
    too_much: bool = False
    """Prometheus is there, and gave up on this very query or would not take it: one that asks for less may be answered."""


Answer = tuple[Series, ...] | Unavailable
"""The answer to one query: an instant vector (maybe empty), or why there is none."""


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event about the ModelDeployment."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    topic: str = ""
    """What it has in common with another one whose message differs in figures alone; empty: only the same message is the same."""
    is_answer: bool = False
    """Whether a person who asked for something waits for it: then the same again counts each time."""
