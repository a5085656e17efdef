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
from typing import IO, Any

from e2e.cluster import paths
from e2e.cluster.errors import ClusterError

Command = Sequence[object]
"""The words of a command: texts and paths, each passed on as `str` shows it."""

Process = subprocess.Popen[bytes]

TAIL = 25
"""Lines of a log that an error shows."""

GRACE_SECONDS = 5
"""How long a command may take to end after being told to, before it is killed."""


class Shell:
    """Runs commands for one step; all that they print goes to the step's log.

    Every method raises ClusterError, with the end of the log, when a command fails or takes longer than `seconds`.
    """

    def __init__(
        self, step: str, say: Callable[[str], None] = lambda _: None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.log = paths.logs() / f"{step}.log"
        self.say = say
        """Shows a short text beside the step's name, such as what is being waited for."""
        self.tell = tell
        """Prints a sentence that a person should still read when the step is over."""
        self._lock = threading.Lock()
        self._running: set[Process] = set()
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
        """Run a command; `env` is added to the environment, `stdin` is fed to it."""
        feed = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = self._spawn(command, stdin=feed, cwd=cwd, env=env)
        self._finish(command, process, seconds, None if stdin is None else stdin.encode())

    def output(self, command: Command, *, seconds: float) -> str:
        """What a command prints to its standard output."""
        process = self._spawn(command, stdout=subprocess.PIPE)
        return self._finish(command, process, seconds).decode(errors="replace")

    def feed(self, consumer: Command, write: Callable[[IO[bytes]], None], *, seconds: float) -> None:
        """Run a command whose standard input `write` writes."""
        process = self._spawn(consumer, stdin=subprocess.PIPE)
        stdin, process.stdin = process.stdin, None
        assert stdin is not None
        guard = threading.Timer(seconds, _end, (process,))
        guard.start()
        try:
            # When the command ends early, its status and its log tell why; the broken pipe does not.
            with contextlib.suppress(BrokenPipeError), stdin:
                write(stdin)
        except BaseException:
            self._drop(process)
            raise
        finally:
            guard.cancel()
        self._finish(consumer, process, seconds)

    def convert(
        self, producer: Command, consumer: Command, pump: Callable[[IO[bytes], IO[bytes]], None], *, seconds: float
    ) -> None:
        """Run `producer | consumer` with `pump` between them."""
        source = self._spawn(producer, stdout=subprocess.PIPE)
        stdout, source.stdout = source.stdout, None
        assert stdout is not None
        try:
            with stdout:
                self.feed(consumer, lambda stdin: pump(stdout, stdin), seconds=seconds)
                # What follows a tar archive's end is padding; unread, it would break the producer's pipe.
                while stdout.read(1 << 20):
                    pass
        except BaseException:
            self._drop(source)
            raise
        self._finish(producer, source, seconds)

    def pipe(self, producer: Command, consumer: Command, *, seconds: float) -> None:
        """Run `producer | consumer`."""
        first = self._spawn(producer, stdout=subprocess.PIPE)
        assert first.stdout is not None
        try:
            with first.stdout:
                second = self._spawn(consumer, stdin=first.stdout)
            self._finish(consumer, second, seconds)
        except BaseException:
            self._drop(first)
            raise
        first.stdout = None
        self._finish(producer, first, seconds)

    def wait(self, what: str, condition: Callable[[], bool], *, seconds: float, every: float = 0.5) -> None:
        """Ask until `condition` holds; the error names `what`."""
        end = time.monotonic() + seconds
        while not condition():
            if self._stopped:
                raise ClusterError(f"Stopped while waiting for {what}.")
            if time.monotonic() > end:
                raise ClusterError(_with_log(f"Waited {seconds:.0f} s for {what}, in vain.", self.log))
            time.sleep(every)

    @property
    def stopped(self) -> bool:
        """Whether the step was told to end: what fails then is no fault of its own."""
        return self._stopped

    def stop(self) -> None:
        """End what is running, from another thread; the step then fails."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def _spawn(
        self,
        command: Command,
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        with self._lock, self.log.open("ab") as log:
            if self._stopped:
                raise ClusterError(f"Stopped before `{shown(command)}`.")
            log.write(f"$ {shown(command)}\n".encode())
            log.flush()
            try:
                # A session of its own, so that its children end with it and Ctrl-C reaches it once, through stop().
                process = subprocess.Popen(
                    [str(word) for word in command],
                    stdin=stdin,
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

    def _finish(self, command: Command, process: Process, seconds: float, stdin: bytes | None = None) -> bytes:
        try:
            out, _ = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ClusterError(_with_log(f"`{shown(command)}` took more than {seconds:.0f} s.", self.log)) from None
        finally:
            self._drop(process)
        if process.returncode:
            raise ClusterError(_with_log(f"`{shown(command)}` ended with status {process.returncode}.", self.log))
        return out or b""

    def _drop(self, process: Process) -> None:
        if process.poll() is None:
            _end(process)
        with self._lock:
            self._running.discard(process)


def _end(process: subprocess.Popen[Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
        if process.poll() is not None:
            return


def shown(command: Command) -> str:
    """A command as one would type it, cut to a line or two."""
    text = shlex.join(str(word) for word in command)
    return text if len(text) < 200 else text[:197] + "..."


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log, indented; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 200 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


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
