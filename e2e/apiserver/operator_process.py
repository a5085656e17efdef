"""The operator as its image runs it: a process of its own, configured by its environment alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from .fork import Fork, Forked

START_SECONDS = 30.0
END_SECONDS = 10.0


class OperatorProcess:
    """`python -m haldane`, with its log in a file."""

    def __init__(self, log: Path, kubeconfig: Path, fork: Fork | None = None, **settings: str) -> None:
        """Start it, at once with a `fork`. `settings` are HALDANE_* variables without their prefix, in lower case."""
        self.log_file = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HALDANE_")}
        environment |= {f"HALDANE_{name.upper()}": value for name, value in settings.items()}
        environment |= {"KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1"}
        self._child: subprocess.Popen[bytes] | Forked
        if fork:
            self._child = fork.start(environment, log)
            return
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, sys.executable, "-m", "haldane"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """Everything that it (and what ran before it with the same log) said."""
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._child.pid

    def health(self) -> tuple[int, str]:
        """What the kubelet would be told: status code (0: nobody answers) and text."""
        ports = re.findall(r"health_port=(\d+)", self.log)
        if not ports:
            return 0, ""
        try:
            answer = httpx.get(f"http://127.0.0.1:{ports[-1]}/healthz", trust_env=False, timeout=5.0)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text.strip()

    def wait_until_healthy(self) -> None:
        """Wait until it works. Raises AssertionError with its log when it does not come to it."""
        deadline = time.monotonic() + START_SECONDS
        while self.health()[0] != httpx.codes.OK:
            assert self._child.poll() is None, f"the operator ended with {self._child.poll()}:\n{self.log}"
            assert time.monotonic() < deadline, f"the operator did not get healthy: {self.health()}\n{self.log}"
            time.sleep(0.05)

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Its exit status, once it ends by itself."""
        return self._child.wait(seconds)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM: exit status, and seconds until it was gone."""
        started = time.monotonic()
        self._child.send_signal(signal.SIGTERM)
        return self.wait(), time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL: nothing of it runs to an end."""
        self._child.kill()
        self._child.wait()

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._child.poll() is None:
            self.kill()
