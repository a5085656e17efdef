"""What the control loop needs of the outside, as Protocols: the cluster, Prometheus, the clock and the Event recorder."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from haldane.plan.observed import Answer, Event

Manifest = dict[str, Any]


class Cluster(Protocol):
    """The Kubernetes API. Every call has a deadline.

    Raises Retryable, Terminal or Conflict (`control.errors`) and nothing else.
    """

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with the field manager `haldane`, forced; the live object comes back."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Server-side apply of a new Deployment with its first `spec.replicas`, by the field manager that `scale` uses."""

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Set a Deployment's replicas through its scale subresource, leaving them free for an autoscaler to take over."""

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object (uid precondition), in the background; one that is gone already is fine."""

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Replace the status of a ModelDeployment if it is still at `resource_version`; Conflict otherwise."""

    async def list(self, api_version: str, kind: str) -> list[Manifest]:
        """Every object of a kind that belongs to Haldane (by label), or every ModelDeployment."""


class Metrics(Protocol):
    """Prometheus. A failure is an answer (`Unavailable`), never an exception."""

    async def query(self, promql: str, at: datetime) -> Answer:
        """The instant vector of a PromQL query at a time."""


class Clock(Protocol):
    """The time of day. One pass takes it once."""

    def now(self) -> datetime:
        """Now, in UTC."""


class Recorder(Protocol):
    """Kubernetes Events, deduplicated. Losing one is acceptable; failing a pass over one is not."""

    async def record(self, regarding: Manifest, event: Event) -> None:
        """Publish an Event about an object. Never raises."""
