"""Commands with a deadline and a log, and waits with a deadline and a reason."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from e2e.cluster import paths
from e2e.cluster.errors import ClusterError

Command = Sequence[object]
"""The words of a command: texts and paths, each passed on as `str` shows it."""

TAIL = 25
"""Lines of a log that an error shows."""

GRACE_SECONDS = 5
"""How long a command may take to end after being told to, before it is killed."""


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log, indented; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 200 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


class Shell:
    """Runs commands for one step; all that they print goes to the step's log."""

    def __init__(self, step: str, say: Callable[[str], None] = lambda _: None) -> None:
        self.log = paths.logs() / f"{step}.log"
        self.say = say
        """Shows a short text beside the step's name, such as what is being waited for."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")

    def run(
        self,
        command: Command,
        *,
        seconds: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> None:
        """Run a command; `env` is added to the environment, `stdin` is fed to it.

        Raises ClusterError, with the end of the log, when it fails or takes longer than `seconds`.
        """
        with self.log.open("ab") as log:
            log.write(f"$ {_shown(command)}\n".encode())
            log.flush()
            self._finish(command, self._start(command, log, cwd, env, stdin), seconds, stdin)

    def output(self, command: Command, *, seconds: float, env: Mapping[str, str] | None = None) -> str:
        """What a command prints to its standard output. Raises as `run` does."""
        with self.log.open("ab") as log:
            log.write(f"$ {_shown(command)}\n".encode())
            log.flush()
            process = self._start(command, log, None, env, None, stdout=subprocess.PIPE)
            return self._finish(command, process, seconds, None)

    def pipe(self, producer: Command, consumer: Command, *, seconds: float) -> None:
        """Run `producer | consumer`. Raises as `run` does when either fails."""
        with self.log.open("ab") as log:
            log.write(f"$ {_shown(producer)} | {_shown(consumer)}\n".encode())
            log.flush()
            first = self._start(producer, log, None, None, None, stdout=subprocess.PIPE)
            assert first.stdout is not None
            second = self._start(consumer, log, None, None, None, source=first.stdout)
            first.stdout.close()
            self._finish(consumer, second, seconds, None)
            self._finish(producer, first, seconds, None)

    def wait(self, what: str, condition: Callable[[], bool], *, seconds: float, every: float = 0.5) -> None:
        """Ask until `condition` holds. Raises ClusterError naming `what` and showing the end of the log."""
        end = time.monotonic() + seconds
        while not condition():
            if self._stopped:
                raise ClusterError(f"Stopped while waiting for {what}.")
            if time.monotonic() > end:
                raise ClusterError(_with_log(f"Waited {seconds:.0f} s for {what}, in vain.", self.log))
            time.sleep(every)

    def stop(self) -> None:
        """End what is running, from another thread; the step then fails."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def _start(
        self,
        command: Command,
        log: IO[bytes],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdin: str | None,
        *,
        stdout: int | None = None,
        source: IO[bytes] | None = None,
    ) -> "subprocess.Popen[bytes]":
        feed: int | IO[bytes] = source or (subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        with self._lock:
            if self._stopped:
                raise ClusterError(f"Stopped before `{_shown(command)}`.")
            try:
                # A session of its own, so that its children end with it and Ctrl-C reaches it once, through stop().
                process = subprocess.Popen(
                    [str(word) for word in command],
                    stdin=feed,
                    stdout=log if stdout is None else stdout,
                    stderr=log,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise ClusterError(f"`{command[0]}` is not installed or not in PATH.") from error
            self._running.add(process)
        return process

    def _finish(self, command: Command, process: "subprocess.Popen[bytes]", seconds: float, stdin: str | None) -> str:
        try:
            out, _ = process.communicate(None if stdin is None else stdin.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ClusterError(_with_log(f"`{_shown(command)}` took more than {seconds:.0f} s.", self.log)) from None
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            raise ClusterError(_with_log(f"`{_shown(command)}` ended with status {process.returncode}.", self.log))
        return (out or b"").decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
        if process.poll() is not None:
            return


def _shown(command: Command) -> str:
    text = shlex.join(str(word) for word in command)
    return text if len(text) < 200 else text[:197] + "..."


def _with_log(sentence: str, log: Path) -> str:
    end = tail(log)
    return f"{sentence}\n{end}\n    (all of it: {log})" if end else sentence


def ask(command: Command, *, seconds: float = 20) -> str | None:
    """What a quick question prints, or None when it fails, hangs or the program is missing."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
