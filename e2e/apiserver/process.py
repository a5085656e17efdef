"""One program that a test session runs: its log in a file, its end bounded, and never outliving the session."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

END_SECONDS = 5.0


class Process:
    """A running program. It gets SIGTERM when the thread that started it dies, however that happens."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        with log.open("wb") as output:
            # Of its own session: Ctrl-C ends the tests first, which then end it in order.
            self._child = subprocess.Popen(
                [*guard, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def ended(self) -> int | None:
        """The exit status; None while it runs."""
        return self._child.poll()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def end(self) -> None:
        """Terminate it, and kill it when it has not ended within a few seconds."""
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
