"""What was written of some objects, in the order in which the API server took it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from e2e.harness.background import in_background
from e2e.harness.feed import Feeds
from e2e.scenarios.errors import Unmet
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place

_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


@dataclass(frozen=True)
class Write:
    """One version of an object: when it came by the event loop's clock, and its number among all that the API server took."""

    at: float
    number: int
    what: str
    """ADDED, MODIFIED or DELETED."""
    kind: str
    body: Manifest

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


@dataclass
class Record:
    """All versions of the objects of some kinds in a namespace since the recording began."""

    writes: list[Write] = field(default_factory=list)

    def first(self, what: str, holds: Callable[[Write], bool], after: int = 0) -> Write:
        """The first version beyond a number that `holds` accepts. Raises Unmet when there is none."""
        for write in sorted(self.writes, key=lambda write: write.number):
            if write.number > after and holds(write):
                return write
        raise Unmet(f"Nothing was written that is {what}.")

    def weight(self, weight: int, after: int = 0) -> Write:
        """When the candidate's route got a weight."""

        def holds(write: Write) -> bool:
            annotations = write.body["metadata"].get("annotations", {})
            return write.name == f"{NAME}-candidate" and annotations.get(_WEIGHT) == str(weight)

        return self.first(f"a route with weight {weight}", holds, after)

    def weights(self) -> list[int]:
        """Every weight that the candidate's route had, without repetitions in a row."""
        routes = [w.body for w in self.writes if w.kind == "ingresses" and w.name == f"{NAME}-candidate"]
        weights = [int(route["metadata"]["annotations"][_WEIGHT]) for route in routes]
        return [weight for before, weight in zip([None, *weights], weights, strict=False) if weight != before]

    def selected(self, revision: str, after: int = 0) -> Write:
        """When the stable Service was pointed at a revision."""

        def holds(write: Write) -> bool:
            selector = write.body["spec"].get("selector") or {}
            return selector.get("haldane.dev/revision") == revision

        return self.first(
            f"a Service of revision {revision}",
            lambda write: write.kind == "services" and write.name == NAME and holds(write),
            after,
        )

    def endpoints(self, pods: set[str], after: int = 0) -> Write:
        """When the stable Service led to these pods, all ready, and to no others; by uid."""

        def holds(write: Write) -> bool:
            if write.body["metadata"].get("labels", {}).get("kubernetes.io/service-name") != NAME:
                return False
            ready = {e["targetRef"]["uid"] for e in write.body.get("endpoints") or [] if e["conditions"].get("ready")}
            return ready == pods

        return self.first("the endpoints", lambda write: write.kind == "endpointslices" and holds(write), after)

    def deleted(self, deployment: str) -> Write:
        """When a Deployment went."""
        return self.first(
            f"the end of {deployment}",
            lambda write: (write.kind, write.name, write.what) == ("deployments", deployment, "DELETED"),
        )


def by_the_loop(place: Place, instant: datetime) -> float:
    """An instant that the operator wrote into status, by the event loop's clock."""
    return place.time - (datetime.now(UTC) - instant).total_seconds()


@contextlib.asynccontextmanager
async def recording(place: Place, *kinds: str) -> AsyncIterator[Record]:
    """Everything that is written of these kinds in the place's namespace, for as long as the context lasts."""
    record = Record()
    feeds = await Feeds.open(place.addresses)

    def saw(kind: str) -> Callable[[str, dict[str, Any]], None]:
        def seen(what: str, body: dict[str, Any]) -> None:
            record.writes.append(Write(place.time, int(body["metadata"]["resourceVersion"]), what, kind, body))

        return seen

    try:
        async with in_background(*(feeds.objects(kind, place.namespace, saw(kind)) for kind in kinds)):
            yield record
    finally:
        await feeds.close()
