"""The operator's own pod: what it logged, and how to end it the hard way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from e2e.harness import processes
from e2e.harness.errors import HarnessError
from e2e.harness.kube import OPERATOR_NAMESPACE
from e2e.scenarios.errors import Unmet
from e2e.scenarios.place import Place

_SELECTOR: Final = "app.kubernetes.io/name=haldane"
_LOUD: Final = ("warning", "error", "critical")
_LEVEL: Final = re.compile(r"\blevel=(\w+)")


async def pod(place: Place) -> dict[str, Any]:
    """The operator's pod. Raises Unmet unless there is exactly one that is not on its way out."""
    found = [
        each
        for each in await place.objects("pods", _SELECTOR, OPERATOR_NAMESPACE)
        if not each["metadata"].get("deletionTimestamp")
    ]
    if len(found) != 1:
        raise Unmet(f"There are {len(found)} pods of the operator in {OPERATOR_NAMESPACE}, not 1.")
    return found[0]


def container(of: dict[str, Any]) -> dict[str, Any]:
    """State of the pod's one container. Raises Unmet for a pod that no kubelet has taken up yet."""
    states: list[dict[str, Any]] = of["status"].get("containerStatuses") or []
    if len(states) != 1:
        raise Unmet(f"Pod {of['metadata']['name']} has {len(states)} containers that run or ran, not 1.")
    return dict(states[0])


async def complaints(place: Place, about: str = "") -> list[str]:
    """Lines of the running operator's log that are warnings or worse or no log lines at all, and that contain `about`."""
    text = await place.kube.kubectl("logs", "-n", OPERATOR_NAMESPACE, "-l", _SELECTOR, "--tail=-1")
    return [line for line in text.splitlines() if about in line and _level(line) in (*_LOUD, None)]


@dataclass(frozen=True)
class Aim:
    """The operator's process, found beforehand: a phase may last a few seconds only."""

    process: processes.Process
    pod: str
    restarts: int

    @property
    def container(self) -> str:
        return self.process.container

    async def kill(self) -> None:
        """SIGKILL."""
        await self.process.kill()


async def aim(place: Place, seconds: float) -> Aim:
    """The operator's process, as soon as there is one that runs."""

    async def look() -> Aim | None:
        try:
            found = await pod(place)
            return Aim(await processes.first(found), found["metadata"]["name"], container(found)["restartCount"])
        except (Unmet, HarnessError, KeyError, ValueError):
            # The one before is still going, or the next has not been started yet.
            return None

    aimed: Aim = await place.until_seen("a process of the operator", look, seconds)
    return aimed


async def until_back(place: Place, killed: str, seconds: float, *, ready: bool = True) -> None:
    """Wait until another container of the operator than `killed` runs, and is ready."""

    async def look() -> bool:
        try:
            state = container(await pod(place))
        except Unmet:
            # The one before is still going, or the next has not been taken up yet.
            return False
        is_up = state["ready"] if ready else "running" in state["state"]
        return bool(is_up and state.get("containerID", "").partition("://")[2] != killed)

    await place.until_seen("the operator to be back", look, seconds)


async def renew(place: Place, seconds: float = 60) -> None:
    """Another pod, unless this one has never been restarted: the kubelet lets a container that ended often wait for minutes."""
    before = await pod(place)
    if not container(before)["restartCount"]:
        return
    await place.kube.kubectl("delete", "pod", "-n", OPERATOR_NAMESPACE, before["metadata"]["name"], "--wait=true")
    await until_back(place, container(before)["containerID"].partition("://")[2], seconds)


def _level(line: str) -> str | None:
    found = _LEVEL.search(line)
    return found[1] if found else None
