"""The runtime as a process of its own on free ports of 127.0.0.1, for the measurements beside this file."""

import http.client
import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

DEADLINE_SECONDS = 60.0


class RuntimeProcess:
    """`with RuntimeProcess(model, {"HALDANE_QUEUE": "8"}) as runtime:` runs it, ready, until the block ends."""

    def __init__(self, model: Path, environment: dict[str, str] | None = None) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("HALDANE_")}
        own |= {"ORT_DISABLE_TELEMETRY": "1", "HALDANE_HOST": "127.0.0.1", "HALDANE_PORT": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "haldane_runtime.server", "serve", str(model)],
            env=own | {"HALDANE_MODEL_NAME": "model"} | (environment or {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "RuntimeProcess":
        try:
            self.port = int(self._until(r"listening on port (\d+)"))
            self._until(r"(ready) ")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def grpc_port(self) -> int:
        """Raises: RuntimeError: when it serves no gRPC."""
        found = (re.search(r"gRPC on port (\d+)", line) for line in self.log)
        port = next((int(match[1]) for match in found if match), None)
        if port is None:
            raise RuntimeError("the runtime serves no gRPC")
        return port

    def rss(self) -> int:
        """Resident memory in bytes.

        Raises:
            RuntimeError: when the process has ended.
        """
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError) as error:
            raise RuntimeError(f"the runtime has ended: {self.log[-3:]}") from error
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip())
            self._lines.put(line)
        self._lines.put(None)

    def _until(self, pattern: str) -> str:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            if found := re.search(pattern, line):
                return found[1]
        raise RuntimeError(f"the runtime ended: {self.log[-3:]}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(DEADLINE_SECONDS)
