"""One scenario's own namespace: what it applies there, what it sees, and how it waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from e2e.harness.addresses import Addresses
from e2e.harness.background import in_background
from e2e.harness.client import Target, wait_until_answered
from e2e.harness.errors import HarnessError
from e2e.harness.feed import Feeds
from e2e.harness.kube import Kube
from e2e.scenarios import manifest
from e2e.scenarios.errors import Unmet
from e2e.scenarios.manifest import NAME, SCENARIO_LABEL, Manifest
from e2e.scenarios.traffic import Answers, sending
from examples.dataset import holdout_rows
from haldane.api.status import Condition
from haldane.api.v1alpha1 import ModelDeployment

T = TypeVar("T")

RATE: Final = 60.0
_READY_SECONDS: Final = 90.0
PATIENCE: Final = 2.0
"""Deadlines end what hangs. How quick things are is measured in `bench`: here all scenarios share two cores with the cluster."""
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Moment:
    """A state of the ModelDeployment, and when it came by the event loop's clock."""

    at: float
    deployment: ModelDeployment
    body: Manifest
    """The same, as the API server sent it."""


class Place:
    """A namespace with one ModelDeployment, `digits`, every state of it and of its pods so far, and the client's counts."""

    def __init__(self, addresses: Addresses, scenario: str, folder: Path, say: Callable[[str], None]) -> None:
        self.addresses = addresses
        self.scenario = scenario
        self.namespace = f"e2e-{scenario}"
        self.kube = Kube(addresses, self.namespace)
        self.target = Target(addresses.ingress_url, manifest.host(scenario), NAME)
        self.answers = Answers()
        self.say = say
        self.moments: list[Moment] = []
        self.pods: dict[str, Manifest] = {}
        """Last state of every pod that was ever there, by uid."""
        self.met: dict[str, frozenset[str]] = {}
        """The pods that had not ended yet when a pod was made, all by uid."""
        self._folder = folder
        self._there: set[str] = set()
        self._changed = asyncio.Event()
        self._told = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, addresses: Addresses, feeds: Feeds, scenario: str, folder: Path, say: Callable[[str], None]
    ) -> AsyncIterator[Place]:
        """A fresh namespace, watched for as long as the context lasts."""
        place = cls(addresses, scenario, folder, say)
        async with place.kube:
            await place.apply_objects("ground", manifest.ground(place.namespace, scenario))
            async with in_background(
                feeds.model_deployments(place.namespace, place._saw_deployment),
                feeds.objects("pods", place.namespace, place._saw_pod),
            ):
                yield place

    @property
    def now(self) -> ModelDeployment:
        """The ModelDeployment as it was seen last. Raises Unmet when it is not there."""
        if not self.moments:
            raise Unmet(f"There is no ModelDeployment {NAME} in {self.namespace}.")
        return self.moments[-1].deployment

    @property
    def time(self) -> float:
        """The event loop's clock, in seconds."""
        return asyncio.get_running_loop().time()

    async def apply_objects(self, name: str, objects: Iterable[Manifest]) -> None:
        """kubectl apply, as a user would."""
        await self.kube.apply_objects(self._folder / f"{self.scenario}-{name}.yaml", objects)

    async def apply(self, version: str, changes: Manifest | None = None) -> int:
        """Ask for a version, by kubectl apply; the object's generation then."""
        self.say(f"apply {version}" + (f" with {json.dumps(changes)}" if changes else ""))
        return await self.kube.apply(self.file(version, changes))

    def file(self, version: str, changes: Manifest | None = None) -> Path:
        """The manifest that asks for a version, written to a file."""
        file = self._folder / f"{self.scenario}-{version}.yaml"
        body = manifest.deployment(self.namespace, self.scenario, version, changes)
        file.write_text(yaml.safe_dump(body, sort_keys=False))
        return file

    async def patch(self, changes: Manifest) -> None:
        """Merge changes into the ModelDeployment."""
        self.say(f"patch {json.dumps(changes)}")
        words = ["patch", "modeldeployment", NAME, "-n", self.namespace, "--type=merge", "-p", json.dumps(changes)]
        await self.kube.kubectl(*words)

    async def until(
        self, what: str, holds: Callable[[ModelDeployment], bool], seconds: float = _READY_SECONDS
    ) -> ModelDeployment:
        """The first state from now on, the present one included, that `holds` accepts. Raises Unmet after PATIENCE times `seconds`."""
        seconds *= PATIENCE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    if self.moments and holds(self.now):
                        return self.now
                    self._changed.clear()
                    await self._changed.wait()
        seen = described(self.now) if self.moments else "no object at all"
        raise Unmet(f"Waited {seconds:.0f} s in vain for {what}; last seen: {seen}")

    async def until_seen(self, what: str, look: Callable[[], Any], seconds: float) -> Any:
        """The first true result of an awaitable `look`, asked twice a second. Raises Unmet after PATIENCE times `seconds`."""
        seconds *= PATIENCE
        end, result = self.time + seconds, None
        while self.time < end:
            result = await look()
            if result:
                return result
            await asyncio.sleep(_LOOK_SECONDS)
        raise Unmet(f"Waited {seconds:.0f} s in vain for {what}.")

    async def until_stable(self, version: str, generation: int, seconds: float = _READY_SECONDS) -> ModelDeployment:
        """Until this version serves, alone and Ready, and status answers this generation of spec."""

        def holds(md: ModelDeployment) -> bool:
            status = md.status
            return (
                status.observed_generation == generation
                and status.rollout.phase == "Stable"
                and status.candidate is None
                and status.previous is None
                and status.stable is not None
                and status.stable.version == version
                and is_true(md, "Ready")
            )

        return await self.until(f"version {version} to be stable and Ready", holds, seconds)

    async def until_rolled_back(self, version: str, seconds: float = _READY_SECONDS) -> ModelDeployment:
        """Until this version stands among the rejected and the rollout is over."""
        return await self.until(
            f"version {version} to be rolled back",
            lambda md: (
                md.status.rollout.phase == "Stable"
                and md.status.candidate is None
                and any(rejected.version == version for rejected in md.status.rejected)
            ),
            seconds,
        )

    async def until_weight(self, weight: int, seconds: float = _READY_SECONDS) -> ModelDeployment:
        """Until the candidate's weight is this."""
        return await self.until(f"weight {weight} %", lambda md: md.status.rollout.weight == weight, seconds)

    async def first_deployment(self, version: str = "v1", changes: Manifest | None = None) -> int:
        """Apply the first version and wait until the ingress answers from it; the object's generation."""
        generation = await self.apply(version, changes)
        await self.until_stable(version, generation)
        await self.answered_by(version)
        return generation

    async def answered_by(self, version: str, seconds: float = 20) -> None:
        """Wait until the ingress answers from this version. Raises HarnessError."""
        await wait_until_answered(self.target, holdout_rows(), version, seconds)

    def traffic(
        self, rate: float = RATE, target: Target | None = None, *, made_up_for: float = 0.0
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Requests for as long as the context lasts, counted in `answers`."""
        return sending(target or self.target, self.answers, rate, made_up_for=made_up_for)

    async def objects(self, kinds: str, selector: str = "", namespace: str = "") -> list[Manifest]:
        """The objects of some kinds in the namespace."""
        words = ["get", kinds, "-n", namespace or self.namespace, "-o", "json"]
        return list(json.loads(await self.kube.kubectl(*words, *(["-l", selector] if selector else [])))["items"])

    async def one(self, kind: str, name: str) -> Manifest | None:
        """One object; None when there is none."""
        text = await self.kube.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else None

    async def events(self) -> list[Manifest]:
        """The Kubernetes Events about the ModelDeployment."""
        return [event for event in await self.objects("events") if event["involvedObject"]["kind"] == "ModelDeployment"]

    async def until_event(self, reason: str, text: str, seconds: float = 10) -> Manifest:
        """The first Event about the ModelDeployment with this reason and this in its message."""

        async def look() -> Manifest | None:
            found = (e for e in await self.events() if e["reason"] == reason and text in e["message"])
            return next(found, None)

        found: Manifest = await self.until_seen(f"an Event {reason} that says {text!r}", look, seconds)
        return found

    def pods_of(self, revision: str) -> dict[str, Manifest]:
        """Every pod that a revision ever had, by uid."""
        return {
            uid: pod
            for uid, pod in self.pods.items()
            if pod["metadata"]["labels"].get("haldane.dev/revision") == revision
        }

    def weights(self) -> list[int]:
        """The weights of all rollouts so far, without repetitions in a row."""
        return without_repetitions(moment.deployment.status.rollout.weight for moment in self.moments)

    def phases(self) -> list[str]:
        """The phases so far, without repetitions in a row."""
        return without_repetitions(str(moment.deployment.status.rollout.phase) for moment in self.moments)

    async def remove(self) -> None:
        """Delete all that was made here, and leave the namespace's own end to the cluster.

        Pods first: a namespace that still has some when it is looked at is looked at again after half of their grace period.
        """
        space = ("-n", self.namespace)
        with contextlib.suppress(HarnessError):
            await self.kube.kubectl("delete", "modeldeployments", "--all", *space, "--timeout=20s")
            await self.kube.kubectl("wait", "--for=delete", "pods", "--all", *space, "--timeout=30s", seconds=40)
        await self.kube.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")

    def _saw_deployment(self, kind: str, body: dict[str, Any]) -> None:
        if kind != "DELETED" and body["metadata"]["name"] == NAME:
            deployment = ModelDeployment.from_wire(body)
            self.moments.append(Moment(self.time, deployment, body))
            rollout = deployment.status.rollout
            line = f"{rollout.phase}, weight {rollout.weight} %"
            if line != self._told and deployment.status.stable is not None:
                self._told = line
                self.say(f"{line}: {rollout.message}")
        self._changed.set()

    def _saw_pod(self, kind: str, body: dict[str, Any]) -> None:
        uid = body["metadata"]["uid"]
        self.met.setdefault(uid, frozenset(self._there))
        ended = kind == "DELETED" or body["status"].get("phase") in ("Succeeded", "Failed")
        (self._there.discard if ended else self._there.add)(uid)
        self.pods[uid] = body
        self._changed.set()


async def remove_leftovers(kube: Kube, scenarios: Iterable[str] = ()) -> None:
    """Delete the namespaces of these scenarios (default: of all), and wait until they are gone."""
    chosen = f"{SCENARIO_LABEL} in ({names})" if (names := ",".join(scenarios)) else SCENARIO_LABEL
    await kube.kubectl("delete", "namespace", "-l", chosen, "--ignore-not-found", "--timeout=120s", seconds=130)


def condition(md: ModelDeployment, kind: str) -> Condition | None:
    """A condition of the object; None when it is absent."""
    return next((each for each in md.status.conditions if each.type == kind), None)


def is_true(md: ModelDeployment, kind: str) -> bool:
    """Whether a condition is there and True."""
    found = condition(md, kind)
    return found is not None and found.status == "True"


def described(md: ModelDeployment) -> str:
    """The state of a rollout in one line."""
    status, rollout = md.status, md.status.rollout
    conditions = ", ".join(f"{each.type}={each.status} ({each.reason})" for each in status.conditions)
    names = {"stable": status.stable, "candidate": status.candidate, "previous": status.previous}
    revisions = ", ".join(f"{name} {each.version}" for name, each in names.items() if each)
    return (
        f"{rollout.phase}, step {rollout.step}, weight {rollout.weight} %, {revisions}; {conditions}; "
        f"generation {md.metadata.generation}, observed {status.observed_generation}; {rollout.message!r}"
    )


def without_repetitions(values: Iterable[T]) -> list[T]:
    """The values with each run of equal ones written once."""
    kept: list[T] = []
    for value in values:
        if not kept or kept[-1] != value:
            kept.append(value)
    return kept
