"""A Prometheus process of its own that scrapes one address, and what it costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx

from e2e.apiserver.server import free_ports
from e2e.cluster import programs

START_SECONDS = 60.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_ASKED = re.compile(r'^prometheus_http_requests_total\{code="\d+",handler="/api/v1/query"\} (\S+)$', re.MULTILINE)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class PrometheusProcess:
    """The real server, as the cluster runs it."""

    def __init__(self, folder: Path, target: str, scrape_seconds: int) -> None:
        """Start it and wait until it is ready. Raises RuntimeError when it does not come to it."""
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        jobs = [{"job_name": "models", "static_configs": [{"targets": [target]}]}]
        every = {"scrape_interval": f"{scrape_seconds}s", "scrape_timeout": f"{scrape_seconds}s"}
        (folder / "prometheus.yml").write_text(json.dumps({"global": every, "scrape_configs": jobs}))
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        flags = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
            "log.level": "warn",
        }
        with (folder / "prometheus.log").open("ab") as output:
            command = [*guard, str(programs.PROMETHEUS.path), *(f"--{flag}={value}" for flag, value in flags.items())]
            self._child = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prometheus does not start:\n{(folder / 'prometheus.log').read_text()}")
            time.sleep(0.1)

    @property
    def cpu(self) -> float:
        """Processor seconds so far."""
        return cpu_seconds(self._child.pid)

    @property
    def asked(self) -> int:
        """Instant queries so far."""
        page = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=30.0).text
        return sum(int(float(count)) for count in _ASKED.findall(page))

    @property
    def samples(self) -> int:
        """Series of the models that have been scraped at least twice."""
        promql = {"query": "count(rate(haldane_requests_total[30s]))"}
        answer = httpx.get(f"{self.url}/api/v1/query", params=promql, trust_env=False, timeout=30.0).json()
        found = answer["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    def hang(self) -> None:
        """Take every connection and answer nothing."""
        self._child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._child.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Make sure that it is gone."""
        self._child.kill()
        self._child.wait()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=1.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
