"""How soon the operator acts on a new model, and what it costs while nothing happens.

    .venv/bin/python -m bench.operator_latency

The real operator process against a real API server (without nodes). For latency, a watch tells when the candidate's
Deployment exists after a new model was written to a ModelDeployment; the limit it is held against is what no operator can
beat: a bare client that creates a Deployment itself on the same server, by turns in the same run, because the figures move
with the machine and with what else it does. `kubectl apply` is measured, too: its own start is most of what it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from e2e.cluster import commands, programs
from haldane.api import crd

Body = dict[str, Any]

TARGET_SECONDS = 1.0
TARGET_CPU = 0.01
TARGET_MIB = 150.0
WAIT_SECONDS = 60.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
DEPLOYMENTS = "/apis/apps/v1/deployments"
MODELS = "/apis/haldane.dev/v1alpha1/modeldeployments"
PAUSE_SECONDS = 0.25
"""Between two samples, so that none waits for the one before."""


class Watch:
    """Tells when each Deployment was first seen to exist, by `time.perf_counter`."""

    def __init__(self, client: httpx.Client) -> None:
        self._seen: dict[str, float] = {}
        self._news = threading.Condition()
        self._client = client
        version = client.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
        threading.Thread(target=self._follow, args=(version,), daemon=True).start()

    def when(self, name: str) -> float:
        """When the Deployment (by a prefix of its name) was seen. Raises RuntimeError when it does not come in time."""
        deadline = time.perf_counter() + WAIT_SECONDS
        with self._news:
            while True:
                found = [at for known, at in self._seen.items() if known.startswith(name)]
                if found:
                    return max(found)
                if not self._news.wait(deadline - time.perf_counter()):
                    raise RuntimeError(f"no Deployment {name}* within {WAIT_SECONDS:.0f} s")

    def forget(self, name: str) -> None:
        """Wait for another Deployment of this prefix."""
        with self._news:
            self._seen = {known: at for known, at in self._seen.items() if not known.startswith(name)}

    def _follow(self, version: str) -> None:
        query = {"watch": "true", "resourceVersion": version}
        # Ends with the API server.
        ending = suppress(httpx.TransportError)
        with ending, self._client.stream("GET", DEPLOYMENTS, params=query, timeout=None) as answer:
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ADDED":
                    with self._news:
                        self._seen[event["object"]["metadata"]["name"]] = time.perf_counter()
                        self._news.notify_all()


def model(name: str, version: int) -> Body:
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"uri": f"s3://models/{name}/{version}.onnx", "version": f"{version}.0.0"}},
    }


def bare_deployment(name: str) -> Body:
    labels = {"bare": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "runtime", "image": "a"}]}},
        },
    }


class Stage:
    """An API server, the operator, and models that are stable."""

    def __init__(self, server: Any, rest: Any, hands: Any, process: Any, client: httpx.Client) -> None:
        self.server, self.rest, self.hands, self.process, self.client = server, rest, hands, process, client
        self.watch = Watch(client)
        self.names: list[str] = []

    def stabilise(self, count: int) -> None:
        """Create models until there are `count`, and wait until all are stable."""
        for number in range(len(self.names), count):
            self.names.append(f"model-{number:03d}")
            assert self.rest.create("default", model(self.names[-1], 1)).status == httpx.codes.CREATED
        deadline = time.monotonic() + 4 * WAIT_SECONDS
        while not all(self._phase(item) == "Stable" for item in self.rest.items("ModelDeployment", "default")):
            if time.monotonic() > deadline:
                raise RuntimeError("the models do not become stable")
            self.hands.work()

    def at_rest(self, seconds: float) -> tuple[float, float]:
        """Share of one core and resident MiB of the operator over some time."""
        before, started = self._cpu_seconds(), time.perf_counter()
        time.sleep(seconds)
        share = (self._cpu_seconds() - before) / (time.perf_counter() - started)
        return share, self._resident()

    def candidate(self, name: str) -> float:
        """Seconds from a request with a new model to its candidate's Deployment."""
        self.watch.forget(name)
        started = time.perf_counter()
        answer = self.rest.merge("ModelDeployment", "default", name, {"spec": model(name, 2)["spec"]})
        assert answer.status == httpx.codes.OK
        return self.watch.when(name) - started

    def candidate_by_kubectl(self, name: str) -> float:
        """The same from the start of `kubectl apply`."""
        self.watch.forget(name)
        text = json.dumps(model(name, 2))
        started = time.perf_counter()
        answer = self.server.kubectl("apply", "-n", "default", "-f", "-", stdin=text)
        assert answer.returncode == 0, answer.stderr
        return self.watch.when(name) - started

    def bare(self, name: str) -> float:
        """Seconds from a bare client's request to its Deployment."""
        started = time.perf_counter()
        assert self.rest.create("default", bare_deployment(name)).status == httpx.codes.CREATED
        return self.watch.when(name) - started

    @staticmethod
    def _phase(item: Body) -> str | None:
        phase: str | None = item.get("status", {}).get("rollout", {}).get("phase")
        return phase

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def _resident(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def stage() -> Iterator[Stage]:
    """Start everything; end everything."""
    from e2e.apiserver.hands import Hands
    from e2e.apiserver.operator_process import OperatorProcess
    from e2e.apiserver.prometheus import PrometheusStandIn
    from e2e.apiserver.rest import Rest
    from e2e.apiserver.server import ApiServer, Programs

    if not all(one.ready() for one in programs.API_SERVER):
        commands.get_programs()
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        server = ApiServer(Programs(programs.ETCD.path, programs.KUBE_APISERVER.path, programs.KUBECTL.path), folder)
        ends.callback(server.end)
        client = ends.enter_context(server.client())
        rest = Rest(client)
        rest.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd.definition())
        deadline = time.monotonic() + WAIT_SECONDS
        while client.get(MODELS).status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise RuntimeError("the API server does not serve the CRD")
            time.sleep(0.1)
        prometheus = PrometheusStandIn()
        ends.callback(prometheus.end)
        settings = {"runtime_image": "haldane/runtime:dev", "prometheus_url": prometheus.url, "health_port": "0"}
        settings |= {"gates": "off"}  # no kubelet runs a runtime here that could be asked
        process = OperatorProcess(folder / "operator.log", server.kubeconfig(), None, **settings)
        ends.callback(process.end)
        process.wait_until_healthy()
        watching = ends.enter_context(server.client())
        made = Stage(server, rest, Hands(rest, "default", prometheus.of("default")), process, watching)
        yield made


def line(what: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    return f"{what:<44} p50 {median * 1e3:6.0f} ms  p95 {p95 * 1e3:6.0f} ms  max {ordered[-1] * 1e3:6.0f} ms  n {len(ordered)}"


def main() -> int:
    """Measure and print. Exit status 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=30, help="models that get a new version, one after another")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds at rest")
    options = parser.parse_args()
    kubectl_samples = max(3, options.samples // 5)

    with stage() as on:
        on.stabilise(10)
        time.sleep(5.0)
        share, resident = on.at_rest(options.rest)
        on.stabilise(options.samples + kubectl_samples)
        candidates, bare = [], []
        for number, name in enumerate(on.names[: options.samples]):
            bare.append(on.bare(f"bare-{number:03d}"))
            time.sleep(PAUSE_SECONDS)
            candidates.append(on.candidate(name))
            time.sleep(PAUSE_SECONDS)
        by_kubectl = [on.candidate_by_kubectl(name) for name in on.names[options.samples :]]

    load = os.getloadavg()[0]
    print(f"machine: {os.cpu_count()} cores, load {load:.1f}")
    print(f"at rest, 10 models, {options.rest:.0f} s: {share:.2%} of one core, {resident:.0f} MiB resident")
    print(line("new model -> candidate Deployment", candidates))
    print(line("limit: a bare client's Deployment", bare))
    print(line("kubectl apply started -> candidate Deployment", by_kubectl))
    p95 = sorted(candidates)[min(len(candidates) - 1, round(0.95 * len(candidates)))]
    missed = [
        text
        for text, held in (
            (f"p95 under {TARGET_SECONDS:g} s", p95 < TARGET_SECONDS),
            (f"under {TARGET_CPU:.0%} of a core", share < TARGET_CPU),
            (f"under {TARGET_MIB:.0f} MiB", resident < TARGET_MIB),
        )
        if not held
    ]
    print("all targets held" if not missed else f"MISSED: {'; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
