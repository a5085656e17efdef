"""What the control loop needs of the outside, as Protocols: the cluster, Prometheus, the clock and the Event recorder."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from haldane.plan.observed import Answer, Event, Series, Unavailable

__all__ = [
    "DEPENDENTS",
    "DEPLOYMENTS",
    "FIELD_MANAGER",
    "KINDS",
    "MODEL_DEPLOYMENTS",
    "OWNED",
    "SCALE_MANAGER",
    "Answer",
    "Clock",
    "Cluster",
    "Event",
    "Kind",
    "Listing",
    "Manifest",
    "Metrics",
    "Recorder",
    "Reply",
    "Runtimes",
    "Series",
    "Unavailable",
]

Manifest = dict[str, Any]

FIELD_MANAGER = "haldane"
"""Owns every field of the children but `replicas`."""
SCALE_MANAGER = "haldane-scale"
"""Owns `replicas` of a Deployment until an autoscaler takes it. Two managers, because a field that a manager stops to
apply is reset to its default, unless another one owns it."""


@dataclass(frozen=True)
class Kind:
    """A resource of the API, as the operator names it: without discovery, because it uses a fixed few."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects: `v1`, or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


MODEL_DEPLOYMENTS = Kind("haldane.dev", "v1alpha1", "ModelDeployment", "modeldeployments")
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")

OWNED = (
    Kind("apps", "v1", "ControllerRevision", "controllerrevisions"),
    Kind("", "v1", "ServiceAccount", "serviceaccounts"),
    DEPLOYMENTS,
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("", "v1", "Service", "services"),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
)
"""Kinds that the operator makes, in the order in which they are applied: what is referred to comes first."""

DEPENDENTS = (
    Kind("", "v1", "Pod", "pods"),
    Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
)
"""Kinds that others make of what the operator made; it only looks at them."""

KINDS = (MODEL_DEPLOYMENTS, *OWNED, *DEPENDENTS)


@dataclass(frozen=True)
class Listing:
    """The objects of one kind (in one namespace, or in all), and the version of the collection that they are."""

    items: list[Manifest] = field(default_factory=list)
    version: int = 0
    """The list's `resourceVersion`: an object that is missing here and older than this is gone."""


class Cluster(Protocol):
    """The Kubernetes API. Every call has a deadline.

    Raises Retryable, Terminal or Conflict (`control.errors`) and nothing else.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The live object, or None when there is none."""

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        """Every object of a kind that belongs to Haldane (by label), or every ModelDeployment; None is every namespace."""

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with the field manager `haldane`, forced; the live object comes back."""

    async def create(self, manifest: Manifest, replicas: int) -> Manifest:
        """Apply a Deployment that does not exist yet with its first `replicas`, owned by the field manager that `scale` uses.

        `manifest` itself has no replicas, so that no later apply of it ever resets them. The live object comes back.
        """

    async def scale(self, deployment: Manifest, replicas: int) -> Manifest:
        """Set replicas through the scale subresource, leaving them free for an autoscaler; the Deployment as it is then."""

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object (uid precondition), in the background; one that is gone already is fine."""

    async def write_status(self, parent: Manifest, status: Manifest) -> Manifest:
        """Replace the status of a ModelDeployment if it is still at `parent`'s resourceVersion; Conflict otherwise."""


class Metrics(Protocol):
    """Prometheus. A failure is an answer (`Unavailable`), never an exception."""

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        """The instant vector of a PromQL query at a time.

        With an `owner`, a namespace, it is one that a user wrote. It may be as slow as it likes: it never holds up the
        operator's own. The time-out begins when the query is sent; how long it may wait for that is the caller's to bound,
        by cancelling.
        """


@dataclass(frozen=True)
class Reply:
    """What a runtime answered."""

    code: int
    """HTTP status; 0 when there was no answer of the runtime's own."""
    document: Any = None
    """Its JSON; None when it is none, or too long to be read."""
    seconds: float = 0.0
    problem: str = ""
    """Why there was no answer, as a clause that is the same for every pod; empty when there was one."""
    is_cut_off: bool = False
    """Whether there may be no way from the API server to the pod: nothing came of it."""


class Runtimes(Protocol):
    """The runtimes in the pods, one request at a time. A failure is an answer (`Reply` with code 0), never an exception."""

    async def ask(self, namespace: str, pod: str, path: str, body: Manifest | None, seconds: float) -> Reply:
        """GET a path of a pod, or POST `body` to it, within so many seconds. `pod` is `name:port`."""


class Clock(Protocol):
    """The time of day. One pass takes it once."""

    def now(self) -> datetime:
        """Now, in UTC."""

    def steady(self) -> float:
        """Seconds since some moment of this process, by a clock that nobody sets."""


class Recorder(Protocol):
    """Kubernetes Events, deduplicated. Losing one is acceptable; failing a pass over one is not."""

    async def record(self, regarding: Manifest, event: Event) -> None:
        """Publish an Event about an object. Never raises."""
