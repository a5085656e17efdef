"""The processes of containers, as the node numbers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from e2e.harness.command import output
from e2e.harness.errors import HarnessError


@dataclass(frozen=True)
class Process:
    """The first process of a pod's one container: its number on the node, and the container's id."""

    node: str
    container: str
    number: str

    async def kill(self) -> None:
        """SIGKILL. Raises HarnessError when it has ended already."""
        await output(["docker", "exec", self.node, "kill", "-KILL", self.number], seconds=15)


async def first(pod: dict[str, Any]) -> Process:
    """Raises HarnessError when the node knows no such process."""
    (state,) = pod["status"]["containerStatuses"]
    node, identity = pod["spec"]["nodeName"], str(state["containerID"].partition("://")[2])
    tasks = await output(["docker", "exec", node, "ctr", "--namespace", "k8s.io", "task", "list"], seconds=15)
    number = next((line.split()[1] for line in tasks.splitlines() if line.startswith(identity)), None)
    if number is None:
        raise HarnessError(f"containerd on {node} has no task {identity}:\n{tasks}")
    return Process(node, identity, number)


async def kill(pod: dict[str, Any]) -> None:
    """SIGKILL to the first process of a pod's one container. Raises HarnessError when the node knows no such process."""
    await (await first(pod)).kill()
