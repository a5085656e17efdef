"""The processes of containers, as the node numbers them."""

from __future__ import annotations

from typing import Any

from e2e.harness.command import output
from e2e.harness.errors import HarnessError


async def kill(pod: dict[str, Any]) -> str:
    """SIGKILL to the first process of a pod's one container; the id of the container that it ended.

    Raises HarnessError when the node knows no such process.
    """
    (state,) = pod["status"]["containerStatuses"]
    node, identity = pod["spec"]["nodeName"], state["containerID"].partition("://")[2]
    tasks = await output(["docker", "exec", node, "ctr", "--namespace", "k8s.io", "task", "list"], seconds=15)
    process = next((line.split()[1] for line in tasks.splitlines() if line.startswith(identity)), None)
    if process is None:
        raise HarnessError(f"containerd on {node} has no task {identity}:\n{tasks}")
    await output(["docker", "exec", node, "kill", "-KILL", process], seconds=15)
    return str(identity)
