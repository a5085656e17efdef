"""What the bench does to the cluster: ends a controller the hard way, takes Prometheus away for a minute, and measures a controller at rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.rivals.controller import Home
from e2e.harness import processes
from e2e.harness.errors import HarnessError
from e2e.harness.kube import Kube

OUTAGE_SECONDS: Final = 60.0
_MONITORING: Final = ("-n", "monitoring")
_BACK_SECONDS: Final = 90.0
_TOGETHER_SECONDS: Final = 60.0


async def pod(kube: Kube, home: Home) -> dict[str, Any]:
    """The controller's pod. Raises HarnessError unless there is exactly one that is not on its way out."""
    text = await kube.kubectl("get", "pods", "-n", home.namespace, "-l", home.selector, "-o", "json")
    found = [each for each in json.loads(text)["items"] if not each["metadata"].get("deletionTimestamp")]
    if len(found) != 1:
        raise HarnessError(f"There are {len(found)} pods {home.selector} in {home.namespace}, not 1.")
    return dict(found[0])


def _container(of: dict[str, Any]) -> dict[str, Any]:
    (state,) = of["status"]["containerStatuses"]
    return dict(state)


async def kill(kube: Kube, home: Home) -> None:
    """SIGKILL to the controller's process."""
    await processes.kill(await pod(kube, home))


async def renew(kube: Kube, home: Home) -> None:
    """A fresh pod of the controller, unless this one never ended: the kubelet lets a container that ended often wait for minutes."""
    before = await pod(kube, home)
    if not _container(before)["restartCount"]:
        return
    await kube.kubectl("delete", "pod", "-n", home.namespace, before["metadata"]["name"], "--wait=true", seconds=60)
    async with asyncio.timeout(_BACK_SECONDS):
        while True:
            try:
                if _container(await pod(kube, home))["ready"]:
                    return
            except (HarnessError, KeyError, ValueError):
                pass
            await asyncio.sleep(0.5)


class Outage:
    """Prometheus away for a minute, once all `parties` have come to where it is to happen to them."""

    def __init__(self, parties: int, say: Callable[[str, str], None]) -> None:
        self._missing = parties
        self._begun, self._over = asyncio.Event(), asyncio.Event()
        self._say = say

    async def happen(self, kube: Kube) -> None:
        """Take part in it; returns when Prometheus answers again. One that the others wait for too long is left out."""
        self._missing -= 1
        if self._missing > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), _TOGETHER_SECONDS)
        if self._begun.is_set():
            await self._over.wait()
            return
        self._begun.set()
        self._say("prometheus", "away")
        await kube.kubectl("scale", "deployment/prometheus", *_MONITORING, "--replicas=0")
        try:
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            try:
                await kube.kubectl("scale", "deployment/prometheus", *_MONITORING, "--replicas=1")
                words = ("rollout", "status", "deployment/prometheus", *_MONITORING, "--timeout=90s")
                await kube.kubectl(*words, seconds=100)
            finally:
                self._over.set()
            self._say("prometheus", "back")


@dataclass(frozen=True)
class Rest:
    """A controller with nothing to do: MiB of its working set, and thousandths of a core."""

    mib: float
    millicores: float


async def at_rest(kube: Kube, node: str, home: Home, seconds: float) -> Rest:
    """What the kubelet counted for the controller over so many seconds."""
    name = (await pod(kube, home))["metadata"]["name"]
    first = await _usage(kube, node, home.namespace, name)
    await asyncio.sleep(seconds)
    last = await _usage(kube, node, home.namespace, name)
    return Rest(last[2] / (1 << 20), 1000 * (last[1] - first[1]) / (last[0] - first[0]))


async def _usage(kube: Kube, node: str, namespace: str, name: str) -> tuple[float, float, float]:
    text = await kube.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics/resource")
    return usage(text, namespace, name)


def usage(text: str, namespace: str, name: str) -> tuple[float, float, float]:
    """When the kubelet looked (seconds), processor seconds so far and bytes of the working set of a pod, from its metrics.

    Raises HarnessError when the pod is not among them.
    """
    found: dict[str, tuple[float, float]] = {}
    for metric in ("pod_cpu_usage_seconds_total", "pod_memory_working_set_bytes"):
        labels = rf'namespace="{re.escape(namespace)}",pod="{re.escape(name)}"'
        match = re.search(rf"^{metric}\{{{labels}\}} (\S+) (\d+)$", text, re.MULTILINE)
        if match is None:
            raise HarnessError(f"The kubelet has no {metric} of pod {name} in {namespace}.")
        found[metric] = (float(match[1]), int(match[2]) / 1000)
    cpu, at = found["pod_cpu_usage_seconds_total"]
    return at, cpu, found["pod_memory_working_set_bytes"][0]
