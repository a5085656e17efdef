"""Plays episodes in a place, one after the other, and says what did not end as it must."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from e2e.scenarios.diagnosis import diagnosis
from e2e.scenarios.errors import Unmet
from e2e.scenarios.manifest import Manifest, merged
from e2e.scenarios.place import Place
from e2e.soak.episodes import Ask, Choose, Deed, Delete, Ending, Episode, Reapply, Say, Scale, Strategy, Version, ending
from e2e.soak.record import Record, Span
from haldane.api.v1alpha1 import ModelDeployment

REST_SECONDS: Final = 240.0
"""In which a model comes to rest, whatever was done to it, while the operator is killed and Prometheus goes away."""
_HEARD_SECONDS: Final = 120.0
_BACK_SECONDS: Final = 45.0
_PAUSE_SECONDS: Final = 2.0

_COMMON: Final[Manifest] = {"progressDeadline": "90s"}
_OF_KIND: Final[dict[str, Manifest]] = {
    "slow": {
        "checks": [
            {"name": "errors", "errorRate": {"max": "1%", "abort": "20%"}},
            {"name": "p90", "latency": {"quantile": "0.9", "max": "200ms"}},
        ],
        "steps": [{"weight": 10, "hold": "5s"}],
        "analysis": {"window": "20s", "minRequests": 10},
    },
    "absent": {"progressDeadline": "20s"},
}
"""What spec.rollout says beside the scenarios' own, for versions that are found out in their own way."""
_OF_STRATEGY: Final[dict[Strategy, Manifest]] = {
    "Canary": {},
    "BlueGreen": {"strategy": "BlueGreen", "steps": [{"weight": 0, "hold": "3s"}]},
    "Recreate": {"strategy": "Recreate", "steps": None},
}


class Player:
    """One user of one ModelDeployment."""

    def __init__(self, place: Place, record: Record, folder: Path) -> None:
        self.place = place
        self.complaints: list[str] = []
        """What did not end as it must."""
        self.played: list[str] = []
        """The names of the episodes that have ended."""
        self.own: set[str] = set()
        """Versions that fail by themselves."""
        self.serving = self._version = Version("v1", "good", "v1")
        self._record, self._folder = record, folder
        self._pods = 1
        self._strategy: Strategy = "Canary"
        self._approval = False
        self._tokens = 0
        self._generation = 0

    async def begin(self) -> None:
        """The first deployment."""
        await self._apply()
        await self.until_rest()
        await self.place.answered_by(self.serving.name)

    async def play(self, episode: Episode) -> None:
        """All of its deeds, then rest; what is otherwise then is a complaint."""
        self.place.say(f"episode {len(self.played) + 1}: {episode.name}")
        expected = ending(self.serving, episode)
        self.own |= {version.name for version in episode.asked if version and version.kind != "good"}
        self._strategy, self._approval = "Canary", False
        began = self.place.time
        for deed in episode.deeds:
            await asyncio.sleep(began + deed.at - self.place.time)
            await self._do(deed, episode)
        try:
            md = await self.until_rest()
        except Unmet as error:
            self.complaints.append(f"{self.place.scenario}: {episode.name} did not come to rest. {error}")
            looks = await diagnosis(self.place, self.place.time - began)
            (self._folder / f"{self.place.scenario}.log").write_text(looks)
            return
        self._judge(episode, expected, md)
        self.played.append(episode.name)
        self.place.say(f"at rest after {self.place.time - began:.0f} s: {self.serving.name} serves")

    async def until_rest(self) -> ModelDeployment:
        """Until nothing is under way, all that was asked for is heard, and the pods are those that were asked for. Raises Unmet."""
        return await self.place.until("rest", self._is_rest, REST_SECONDS)

    def _judge(self, episode: Episode, expected: Ending, md: ModelDeployment) -> None:
        stable = md.status.stable
        known = {version.name: version for version in (self.serving, self._version, *filter(None, episode.asked))}
        names = {entry.version for entry in md.status.rejected} & {v.name for v in episode.asked if v}
        name = stable.version if stable else "nothing"
        wrong = expected.complaints(name, names)
        self.complaints += [f"{self.place.scenario}: {episode.name} ended otherwise: {each}" for each in wrong]
        for each in wrong:
            self.place.say(f"WRONG: {each}")
        self.serving = known.get(name, self.serving)

    def _is_rest(self, md: ModelDeployment) -> bool:
        status = md.status
        stable, asked = status.stable, self._version.name
        if status.rollout.phase != "Stable" or status.candidate or status.previous or stable is None:
            return False
        heard = {
            name.removeprefix("haldane.dev/"): value
            for name, value in md.metadata.annotations.items()
            if name.startswith("haldane.dev/")
        }
        token = heard.get("retry", "")
        rejected = [entry for entry in status.rejected if entry.version == asked and token in ("", entry.retry)]
        return (
            status.observed_generation == md.metadata.generation == self._generation
            and stable.ready_replicas == stable.replicas == self._pods
            and (status.verbs or {}) == heard
            and (stable.version == asked or bool(rejected))
        )

    async def _do(self, deed: Deed, episode: Episode) -> None:
        action = deed.action
        self.place.say(f"  {action}")
        match action:
            case Ask(version, approval):
                self._version, self._approval = version or self.serving, approval
                await self._apply()
            case Choose(strategy):
                self._strategy = strategy
                # At rest it comes with the next version: two applies at once would be two edits for nothing.
                if deed.at:
                    await self._apply()
            case Scale(pods):
                self._pods = pods
                await self._apply()
            case Reapply(times):
                for _ in range(times):
                    await self._apply()
            case Say(verb):
                await self._say(verb)
            case Delete(role):
                await self._delete(role)

    async def _apply(self) -> None:
        version = self._version
        rollout = merged(_COMMON, _OF_KIND.get(version.kind, {}))
        rollout |= _OF_STRATEGY[self._strategy]  # not merged: None is for the scenarios' steps, which it takes away
        if self._approval:
            rollout["steps"] = [{"weight": 20, "hold": "3s", "approval": True}, {"weight": 50, "hold": "3s"}]
        changes: Manifest = {
            "model": {"version": version.name},
            "scaling": {"minReplicas": self._pods},
            "rollout": rollout,
        }
        self._generation = await self.place.apply(version.example, changes)

    async def _annotate(self, verb: str, value: str | None) -> None:
        change = {"metadata": {"annotations": {f"haldane.dev/{verb}": value}}}
        await self.place.patch(change)

    async def _say(self, verb: str) -> None:
        self._tokens += 1
        if verb == "resume":
            await self._annotate("pause", None)
            return
        waits: dict[str, Callable[[ModelDeployment], bool]] = {"approve": _awaits_approval, "retry": self._is_rest}
        if verb in waits:
            try:
                await self.place.until(f"something to {verb}", waits[verb], _HEARD_SECONDS)
            except Unmet as error:
                self.complaints.append(f"{self.place.scenario}: {error}")
                return
        await self._annotate(verb, f"soak-{self._tokens}")

    async def _delete(self, role: str) -> None:
        """A pod that the others can be without: requests that are lost with the last one of stable are nobody's fault."""
        status = self.place.now.status
        state = status.stable if role == "stable" else status.candidate
        if state is None:
            return
        ready = [pod for pod in self.place.pods_of(state.revision).values() if _is_ready(pod)]
        spare = len(ready) == self._pods > 1 if role == "stable" else bool(ready)
        if not spare or status.rollout.phase == "Watching":
            return
        pod = random.choice(ready)["metadata"]["name"]
        begin = self.place.time
        await self.place.kube.kubectl("delete", "pod", "-n", self.place.namespace, pod, "--wait=false")
        self._record.deleted.append(Span(begin, self.place.time))
        if role == "stable":
            await self._until_replaced(state.revision, len(ready))

    async def _until_replaced(self, revision: str, pods: int) -> None:
        """No other pod of stable may be taken before: an edit that scales down would take it."""
        end = self.place.time + _BACK_SECONDS
        await asyncio.sleep(_PAUSE_SECONDS)
        while self.place.time < end:
            there = [pod for pod in self.place.pods_of(revision).values() if _is_ready(pod)]
            if len(there) >= pods or self.place.now.status.stable is None:
                return
            await asyncio.sleep(0.5)


def _awaits_approval(md: ModelDeployment) -> bool:
    return any(each.type == "Suspended" and each.reason == "WaitingForApproval" for each in md.status.conditions)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
