"""Lets the cluster and the client go before other programs of the machine, so that a busy one measures the controllers and not its queue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.runtime.processes import going_first
from e2e.cluster.shell import ask
from e2e.harness.errors import HarnessError

ROOT: Final = Path("/sys/fs/cgroup")
_FORMS: Final = {"cpu.shares": "65536", "cpu.weight": "10000"}
"""The file that holds a group's share of the processors, in the first and in the second version of cgroups, and what is written."""


def share_files(membership: str, root: Path = ROOT) -> list[Path]:
    """The files to write so that a process goes first, from its own group up, by what is in its /proc/<pid>/cgroup."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        group = top / path.lstrip("/")
        found = [parent / form for parent in (group, *group.parents) if top in parent.parents for form in _FORMS]
        if existing := [file for file in found if file.exists()]:
            return existing
    return []


@contextmanager
def first(node: str) -> Iterator[None]:
    """The node's container and this process first, until the block ends. Raises HarnessError when the system does not let us."""
    pid = (ask(["docker", "inspect", "--format", "{{.State.Pid}}", node]) or "").strip()
    if not pid.isdecimal() or pid == "0":
        raise HarnessError(f"Docker knows no process of {node}.")
    files = share_files(Path(f"/proc/{pid}/cgroup").read_text())
    with ExitStack() as ends:
        ends.enter_context(going_first(os.getpid()))
        for file in files:
            before = file.read_text()
            try:
                file.write_text(_FORMS[file.name])
            except OSError as error:
                raise HarnessError(f"--first needs root: {error}") from error
            ends.callback(_restore, file, before)
        yield


def _restore(file: Path, text: str) -> None:
    with suppress(OSError):
        file.write_text(text)
