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

PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
START_SECONDS = 20.0
DOWNLOAD_SECONDS = 120.0


def redis_program() -> tuple[str, dict[str, str]]:
    """The program and the environment it needs."""
    found = shutil.which("redis-server")
    if found:
        return found, {}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haldane" / "redis"
    program = cache / "usr/bin/redis-server"
    if not program.exists():
        if shutil.which("apt-get") is None:
            pytest.skip("redis-server is neither in PATH nor to be had with apt-get: install Redis to run these tests")
        fresh = cache.with_name(f"redis.{os.getpid()}")
        fresh.mkdir(parents=True)
        for command in (
            ["apt-get", "-o", "APT::Sandbox::User=", "download", "-q", *PACKAGES],
            ["bash", "-ec", 'for package in *.deb; do dpkg -x "$package" .; rm "$package"; done'],
        ):
            subprocess.run(command, cwd=fresh, check=True, timeout=DOWNLOAD_SECONDS, stdout=subprocess.DEVNULL)
        if not program.exists():
            shutil.rmtree(cache, ignore_errors=True)
            fresh.rename(cache)
    libraries = [str(path) for path in (cache / "usr/lib").iterdir() if path.is_dir()]
    return str(program), {"LD_LIBRARY_PATH": ":".join(libraries)}


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
