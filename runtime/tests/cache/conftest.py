"""A real Redis: the one in PATH, or Debian's package unpacked beside the other downloads, without root."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.apiserver.server import free_ports
from e2e.cluster import paths
from e2e.harness.debian_packages import NotDebian, library_path, unpacked

PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
START_SECONDS = 20.0


def redis_program() -> tuple[str, dict[str, str]]:
    """The program and the environment it needs."""
    found = shutil.which("redis-server")
    if found:
        return found, {}
    try:
        folder = unpacked(paths.home() / "redis", PACKAGES)
    except NotDebian as error:
        pytest.skip(f"redis-server is not in PATH. {error}")
    return str(folder / "usr/bin/redis-server"), {"LD_LIBRARY_PATH": library_path(folder)}


class RedisServer:
    """One that can be stopped, started again on the same port, and frozen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command, self._environment = redis_program()
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [self._command, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *options],
            cwd=self._folder,
            env=os.environ | self._environment,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    client.sendall(b"PING\r\n")
                    if client.recv(16):
                        return
            except OSError:
                assert self.process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()
