"""The operator under attack: killed, cut off, looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubernetes.aio import client, config

from e2e.harness.addresses import Addresses
from e2e.harness.command import output
from e2e.harness.errors import HarnessError
from e2e.harness.kube import OPERATOR_NAMESPACE, Kube
from e2e.soak.record import Span

SELECTOR: Final = "app.kubernetes.io/name=haldane"
LOOK_EVERY: Final = 1.0
MEMORY_EVERY: Final = 10.0
BACK_SECONDS: Final = 90.0
RECONNECTED: Final = 12.0
"""Seconds after a cut until a connection that was silent is surely noticed, and used or made again."""

Body = dict[str, Any]

_PROCESS: Final = "$(ctr -n k8s.io task list | grep {} | tr -s ' ' | cut -d' ' -f2)"
"""The number, inside the node, of a container's first process."""


@dataclass
class Life:
    """One process of the operator."""

    container: str
    ready_at: float | None = None
    ended_at: float | None = None
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(seconds, MiB)"""


class Operator:
    """Watches the operator's pod once a second, and does harm to it. `clock` gives the seconds of the soak."""

    def __init__(self, addresses: Addresses, kube: Kube, clock: Callable[[], float], logs: Path) -> None:
        self.lives: list[Life] = []
        self.killed: dict[str, float] = {}
        """When each container was killed by us."""
        self.backs: list[float] = []
        """Seconds from each kill until the next process was ready."""
        self.unasked: list[str] = []
        """Ends that nobody asked for."""
        self.cuts: list[Span] = []
        self.complaints: list[str] = []
        """Lines of its log that are errors."""
        self._addresses, self._kube, self._clock, self._logs = addresses, kube, clock, logs
        self._pod: Body | None = None
        self._looked: float = -MEMORY_EVERY

    async def watch(self) -> None:
        """For ever: which process runs, since when it is ready, how much memory it takes."""
        api = await config.new_client_from_config(
            config_file=self._addresses.kubeconfig, context=self._addresses.context, persist_config=False
        )
        core = client.CoreV1Api(api)
        try:
            while True:
                with contextlib.suppress(client.ApiException, OSError, TimeoutError, HarnessError):
                    answer = await core.list_namespaced_pod(
                        OPERATOR_NAMESPACE, label_selector=SELECTOR, _request_timeout=5
                    )
                    self._see(api.sanitize_for_serialization(answer)["items"])
                    await self._weigh()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            await api.close()

    @property
    def working(self) -> list[Span]:
        """When a process was ready and could reach the API server."""
        now = self._clock()
        spans = [Span(life.ready_at, life.ended_at or now) for life in self.lives if life.ready_at is not None]
        for cut in self.cuts:
            end = cut.end + RECONNECTED
            parts = [
                (Span(span.begin, min(span.end, cut.begin)), Span(max(span.begin, end), span.end)) for span in spans
            ]
            spans = [part for pair in parts for part in pair if part.end > part.begin]
        return spans

    async def kill(self) -> None:
        """SIGKILL, as soon as there is a process; then see to it that the next one does not have to wait for the kubelet."""
        end = self._clock() + BACK_SECONDS
        while (killed := await self._kill()) is None:
            if self._clock() > end:
                raise HarnessError(f"For {BACK_SECONDS:.0f} s there was no process of the operator to kill.")
            await asyncio.sleep(0.2)
        if _state(killed)["restartCount"]:
            await self.read_log(killed)
            name = killed["metadata"]["name"]
            await self._kube.kubectl("delete", "pod", "-n", OPERATOR_NAMESPACE, name, "--wait=false")

    async def _kill(self) -> Body | None:
        """The pod whose process was killed; None when there was none."""
        pod = self._pod
        container = _state(pod).get("containerID") if pod else None
        if not pod or not container or container in self.killed:
            return None
        try:
            await self._in_node(pod, f"kill -KILL {_PROCESS.format(container.partition('://')[2])}")
        except HarnessError:
            return None
        at = self.killed[container] = self._clock()
        if self.lives and self.lives[-1].container == container:
            self.lives[-1].ended_at = at
        return pod

    async def cut(self, seconds: float) -> None:
        """No packet from its pod reaches the API server for so long. The node itself ends it, whatever becomes of us."""
        pod = self._pod
        address = pod and pod["status"].get("podIP")
        if not pod or not address:
            return
        rule = f"INPUT -s {address} -p tcp --dport 6443 -j DROP"
        words = f"iptables -I {rule}; sleep {seconds:.1f}; iptables -D {rule}"
        begin = self._clock()
        await self._in_node(pod, words, seconds + 20)
        self.cuts.append(Span(begin, self._clock()))

    async def until_ready(self, seconds: float = BACK_SECONDS) -> None:
        """Wait until a process is ready. Raises HarnessError."""
        end = self._clock() + seconds
        while not (self.lives and self.lives[-1].ready_at is not None and self.lives[-1].ended_at is None):
            if self._clock() > end:
                raise HarnessError(f"The operator was not ready again within {seconds:.0f} s.")
            await asyncio.sleep(0.2)

    async def read_log(self, pod: Body | None = None) -> None:
        """Keep the log of a pod (of the present one) before it goes, and note the errors in it."""
        pod = pod or self._pod
        if pod is None:
            return
        folder = f"/var/log/pods/{OPERATOR_NAMESPACE}_{pod['metadata']['name']}_{pod['metadata']['uid']}/operator"
        with contextlib.suppress(HarnessError):
            text = await self._in_node(pod, f"cat {folder}/*.log")
            with self._logs.open("a") as file:
                file.write(text)
            self.complaints += errors(text)

    def _see(self, pods: list[Body]) -> None:
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and pod["spec"].get("nodeName")]
        self._pod = alive[0] if len(alive) == 1 else None
        if self._pod is None:
            return
        state = _state(self._pod)
        container, now = state.get("containerID"), self._clock()
        if not container or "running" not in state["state"]:
            return
        if not self.lives or self.lives[-1].container != container:
            if self.lives and self.lives[-1].container not in self.killed:
                self.unasked.append(f"the operator ended by itself before {now:.0f} s: {_why(state)}")
                self.lives[-1].ended_at = now
            self.lives.append(Life(container))
        life = self.lives[-1]
        if state["ready"] and life.ready_at is None and container not in self.killed:
            life.ready_at = now
            if self.killed:
                self.backs.append(now - max(self.killed.values()))

    async def _weigh(self) -> None:
        now = self._clock()
        if not self._pod or not self.lives or self.lives[-1].ended_at or now - self._looked < MEMORY_EVERY:
            return
        self._looked = now
        life = self.lives[-1]
        identity = life.container.partition("://")[2]
        said = await self._in_node(self._pod, f"grep VmRSS /proc/{_PROCESS.format(identity)}/status")
        life.memory.append((now, int(said.split()[1]) / 1024))

    async def _in_node(self, pod: Body, words: str, seconds: float = 20.0) -> str:
        return await output(["docker", "exec", pod["spec"]["nodeName"], "sh", "-c", words], seconds=seconds)


def errors(log: str) -> list[str]:
    """Lines that are errors, and the last lines of what was not caught. containerd puts time, stream and a letter before each."""
    lines = [line.split(" ", 3)[-1] for line in log.splitlines()]
    return [line for line in lines if "level=error" in line or "level=critical" in line or line.startswith("Traceback")]


def _state(pod: Body) -> Body:
    found = pod["status"].get("containerStatuses") or [{"restartCount": 0, "state": {}, "ready": False}]
    return dict(found[0])


def _why(state: Body) -> str:
    ended = state.get("lastState", {}).get("terminated") or {}
    return f"{ended.get('reason', 'no reason')}, exit code {ended.get('exitCode', 'unknown')}"
