"""Servers as child processes: started with a deadline, watched, ended by their ids with all they have started themselves."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120.0
SETTLE_SECONDS = 15.0
SETTLED_CORES = 0.3
END_SECONDS = 10.0
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Something that the measurement cannot go on without; the message says what to do."""


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind, so that daemons which detach are found and ended, too."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextmanager
def going_first(pid: int) -> Iterator[None]:
    """Let the session of a process go before other programs of this machine until the block ends.

    Linux shares the processors among sessions first (sched(7), autogroup), and every server is a session of its own, so that
    `nice` alone would not help.

    Raises:
        BenchError: when the kernel does not let it.
    """
    # Daemons of a server may have made sessions of their own.
    groups = {one: Path(f"/proc/{one}/autogroup") for one in (pid, *descendants(pid))}
    before = {}
    try:
        for one, group in groups.items():
            before[one] = group.read_text().split()[-1]
            group.write_text("-15")
    except OSError as error:
        raise BenchError(f"--first needs root and a kernel that has autogroups: {error}") from error
    try:
        yield
    finally:
        for one, nice in reversed(before.items()):
            # A server may have ended meanwhile.
            with suppress(OSError):
                groups[one].write_text(nice)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `pid` is the first process of its tree."""

    pid: int
    log: Path

    def processor_seconds(self) -> float:
        """Of the whole tree, processes that have ended left out."""
        return sum(_processor_seconds(pid) for pid in (self.pid, *descendants(self.pid)))


@contextmanager
def serve(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path, ready: tuple[int, str]
) -> Iterator[Running]:
    """Run a server until the block ends; `ready` is the port and the path that answers 200 once it serves.

    Raises:
        BenchError: when it ends, or does not answer in time; with the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    before = set(descendants(os.getpid()))
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        _wait_ready(process, log, *ready)
        running = Running(process.pid, log)
        _settle(running)
        yield running
    finally:
        _end(process, before)


def _wait_ready(process: subprocess.Popen[bytes], log: Path, port: int, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            what = "did not answer in time" if process.returncode is None else f"ended with code {process.returncode}"
            raise BenchError(f"{' '.join(map(str, process.args))} {what}; the end of {log}:\n{tail}")  # type: ignore[arg-type]
        time.sleep(0.05)


def _settle(running: Running) -> None:
    """Some servers answer while their other workers still load: wait until they rest, or for as long as is bearable."""
    deadline = time.monotonic() + SETTLE_SECONDS
    pause, last = 0.3, running.processor_seconds()
    while time.monotonic() < deadline:
        time.sleep(pause)
        now = running.processor_seconds()
        if now - last < SETTLED_CORES * pause:
            return
        last = now


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes], before: set[int]) -> None:
    """Ask the first process to end, then kill what is left of everything that came into being since it was started."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline = time.monotonic() + END_SECONDS
    while rest := set(descendants(os.getpid())) - before:
        for pid in rest:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap(rest)
        if time.monotonic() > deadline:
            raise BenchError(f"the processes {sorted(rest)} could not be ended; end them by hand")
        time.sleep(0.05)


def _reap(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def descendants(root: int) -> list[int]:
    """The processes that `root` has started, and theirs, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))):
            children.setdefault(int(stat[1]), []).append(int(entry))
    found, left = [], [root]
    while left:
        for child in children.get(left.pop(), ()):
            found.append(child)
            left.append(child)
    return found


def busy_seconds() -> float:
    """Processor time that anything on this machine has used, and that its host has taken away (proc(5), /proc/stat)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on (proc(5) field 3); none when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _processor_seconds(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / _TICKS if stat else 0.0
