"""A thousand rollouts under way at once: what they ask of Prometheus, what that costs, and how late it makes the operator.

    .venv/bin/python -m bench.operator_scale

The operator's control loop runs in a process of its own, against a real Prometheus that scrapes the metrics of every model, and
a cluster in memory whose answers take 4 ms. All rollouts are overdue at once when it starts, as after an outage. It takes
about three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.operator_scale.exporter import CODES, Exporter
from bench.operator_scale.fleet import NAMESPACE, body
from bench.operator_scale.prometheus import PrometheusProcess, cpu_seconds, resident_mib
from bench.runtime.processes import going_first
from e2e.cluster import commands, programs
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.revision import revision_hash
from haldane.plan.schedule import next_look

INTERVAL = 30.0
"""Seconds between two looks: the default."""
CHECKS = 2
SCRAPE_SECONDS = 5
STABLE_RATE, CANDIDATE_RATE = 95.0, 5.0
BROKEN, ABORTED = 20, 5
TARGET_LAG, TARGET_ROLLBACK = 2.0, 2.0
PATIENCE = 240.0


class Operator:
    """The process that is measured."""

    def __init__(self, url: str, count: int, ago: float) -> None:
        words = ["--prometheus", url, "--count", str(count), "--ago", str(ago)]
        command = [sys.executable, "-m", "bench.operator_scale.operator", *words]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._child.pid
        assert self._heard() == "ready"

    def say(self, *words: object) -> Any:
        """One command; its answer."""
        assert self._child.stdin
        self._child.stdin.write(" ".join(map(str, words)) + "\n")
        self._child.stdin.flush()
        return self._heard()

    def end(self) -> None:
        """Make sure that it is gone."""
        self._child.kill()
        self._child.wait()

    def _heard(self) -> Any:
        assert self._child.stdout
        return json.loads(self._child.stdout.readline())


@dataclass(frozen=True)
class Cost:
    """What some seconds cost."""

    seconds: float
    queries: int
    prometheus: float
    """Processor seconds, as `operator`."""
    operator: float

    @classmethod
    def of(cls, prometheus: PrometheusProcess, operator: Operator, seconds: float) -> Cost:
        def now() -> tuple[float, int, float, float]:
            return time.monotonic(), prometheus.asked, prometheus.cpu, cpu_seconds(operator.pid)

        before = now()
        time.sleep(seconds)
        after = now()
        return cls(after[0] - before[0], after[1] - before[1], after[2] - before[2], after[3] - before[3])

    def line(self, what: str) -> str:
        """One line to read."""
        shares = (
            f"Prometheus {self.prometheus / self.seconds:.1%}, operator {self.operator / self.seconds:.1%} of a core"
        )
        return f"{what}: {self.queries / self.seconds * INTERVAL:.0f} queries an interval, {shares}"


def lags(report: Any, since: float, until: float) -> list[float]:
    """Seconds from when a look was due until its verdicts stood in status, of all that were due in between."""
    found: list[float] = []
    before: dict[str, float] = {}
    for name, at, written in report["looks"]:
        if name in before:
            last, uid = datetime.fromtimestamp(before[name], UTC), body(int(name[-4:]))["metadata"]["uid"]
            due = next_look(uid, last, timedelta(seconds=INTERVAL)).timestamp()
            if since <= due < until:
                found.append(written - due)
        before[name] = at
    return sorted(found)


def at_most(seconds: list[float], part: float) -> float:
    """What so many of them do not exceed."""
    return seconds[min(len(seconds) - 1, round(part * len(seconds)))]


def name(number: int) -> str:
    return str(body(number)["metadata"]["name"])


def revision_of(number: int, version: int) -> str:
    return revision_hash(ModelDeployment.from_wire(body(number, version)))


def wait(what: str, done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.5)


def main() -> int:
    """Measure and print. Exit status 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="rollouts under way")
    parser.add_argument("--ago", type=float, default=600.0, help="weights were set up to so many seconds ago")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--first", action="store_true", help="go before what else this machine has to do (needs root)")
    options = parser.parse_args()
    count = options.count
    if not programs.PROMETHEUS.ready():
        commands.get_programs(("prometheus",))

    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        revisions = [tuple(revision_of(number, version) for version in (1, 2)) for number in range(count)]
        rates = (STABLE_RATE, CANDIDATE_RATE)
        exporter = Exporter(
            (NAMESPACE, name(number), revision, rate)
            for number, both in enumerate(revisions)
            for revision, rate in zip(both, rates, strict=True)
        )
        ends.callback(exporter.end)
        prometheus = PrometheusProcess(folder, exporter.address, SCRAPE_SECONDS)
        ends.callback(prometheus.end)
        operator = Operator(prometheus.url, count, options.ago)
        ends.callback(operator.end)
        if options.first:
            ends.enter_context(going_first(os.getpid()))
        wait("every model has been scraped", lambda: prometheus.samples == len(CODES) * len(rates) * count)
        time.sleep(2 * SCRAPE_SECONDS)
        idle = Cost.of(prometheus, operator, 10.0)

        asked, begun = prometheus.asked, time.time()
        operator.say("begin")
        wait("every rollout has been looked at", lambda: operator.say("looked") == count)
        caught_up, catching_up = time.time() - begun, prometheus.asked - asked
        time.sleep(INTERVAL)

        since = time.time()
        cost = Cost.of(prometheus, operator, options.seconds)
        until = time.time()

        broken = [name(number) for number in range(BROKEN)]
        for number, one in enumerate(broken):
            exporter.break_model(one, revisions[number][1])
        wait("broken models have lost their traffic", lambda: operator.say("emptied") == BROKEN)

        prometheus.hang()
        time.sleep(5.0)
        aborted = {}
        for number in range(BROKEN, BROKEN + ABORTED):
            aborted[name(number)] = time.time()
            operator.say("abort", name(number))
            time.sleep(0.2)
        wait("aborted rollouts have lost their traffic", lambda: operator.say("emptied") == BROKEN + ABORTED)
        prometheus.go_on()
        differences = operator.say("differences", min(count, 200))
        report, memory = operator.say("report"), resident_mib(operator.pid)

    late = lags(report, since, until)
    last = {one: at for one, at, _ in report["looks"]}
    fail_to_empty = sorted(report["emptied"][one] - last[one] for one in broken)
    status_to_empty = sorted(report["emptied"][one] - report["decided"][one] for one in broken)
    abort_to_empty = sorted(report["emptied"][one] - at for one, at in aborted.items())
    print(
        f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {count} rollouts under way, {CHECKS} checks each"
    )
    print(idle.line("scraping alone"))
    print(f"all overdue at once: {caught_up:.1f} s until each had its verdicts, {catching_up} queries")
    print(cost.line("then"))
    print(f"due -> verdicts in status: p50 {at_most(late, 0.5):.2f} s, p99 {at_most(late, 0.99):.2f} s, n {len(late)}")
    print(f"instant of a look that fails -> weight 0 in the route: {spread(fail_to_empty)}")
    print(f"weight 0 in status -> in the route: {spread(status_to_empty)}")
    print(f"abort while Prometheus hangs -> weight 0 in the route: {spread(abort_to_empty)}")
    print(f"operator's process: {memory:.0f} MiB resident")
    print(f"answers of a batch that differ from the query's own: {differences}")
    missed = [
        text
        for text, held in (
            ("one query a check and interval at most", cost.queries / cost.seconds * INTERVAL <= CHECKS * count),
            (f"p99 of the lag under {TARGET_LAG:g} s", at_most(late, 0.99) < TARGET_LAG),
            (f"weight 0 within {TARGET_ROLLBACK:g} s of a look that fails", fail_to_empty[-1] < TARGET_ROLLBACK),
            (f"weight 0 within {TARGET_ROLLBACK:g} s of an abort", abort_to_empty[-1] < TARGET_ROLLBACK),
            ("equal answers", not differences),
        )
        if not held
    ]
    print("all targets held" if not missed else f"MISSED: {'; '.join(missed)}")
    return 1 if missed else 0


def spread(seconds: list[float]) -> str:
    """Median and maximum."""
    return f"p50 {at_most(seconds, 0.5):.2f} s, max {seconds[-1]:.2f} s, n {len(seconds)}"


if __name__ == "__main__":
    sys.exit(main())
