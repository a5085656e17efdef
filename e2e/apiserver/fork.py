"""Operators that start at once: a process that has imported everything forks one for each line that it reads.

Importing takes nearly all of the operator's start. What is forked is for the rest what the image runs: `haldane.__main__.main` in a process of its own,
which SIGKILL ends like any other.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Fork:
    """The process that forks. Close it when done: what it forked ends with it."""

    def __init__(self, kubeconfig: Path) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "e2e.apiserver.fork"],
            cwd=REPOSITORY,
            # The client reads this when it is imported.
            env=os.environ | {"KUBECONFIG": str(kubeconfig)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, environment: dict[str, str], log: Path) -> Forked:
        """Fork an operator with this environment and log."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._parent.stdin.flush()
        return Forked(int(self._parent.stdout.readline()))

    def close(self) -> None:
        """End it, and what it forked."""
        self._parent.kill()
        self._parent.communicate()


class Forked:
    """A process of a `Fork`, as far as a test needs what `subprocess.Popen` offers; its exit status is not known."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float = 5.0) -> int:
        """Wait until it is gone. Raises TimeoutExpired."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("haldane", seconds)
            time.sleep(0.002)
        return 0


def _become(environment: dict[str, str], log: str) -> None:
    from haldane.__main__ import main

    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(source, number)
    os.environ.clear()
    os.environ.update(environment)
    main()


def _serve() -> None:
    import haldane.__main__  # noqa: F401  what takes so long

    # Nobody asks for an exit status: so the kernel keeps no dead children for it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                _become(**order)
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    _serve()
