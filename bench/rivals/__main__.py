"""Haldane, Flagger and Argo Rollouts on kind: the same app, client, limits and counting, and what Haldane must do beside it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.rivals import priority, programs, report, results
from bench.rivals.cases import CASES, HALDANE, chosen
from bench.rivals.results import Results
from bench.rivals.session import CONTROLLERS, REST, Plan, Session
from bench.runtime.processes import BenchError
from e2e.cluster import addresses as cluster_addresses
from e2e.cluster import kind, record
from e2e.cluster.errors import ClusterError
from e2e.harness.addresses import read
from e2e.harness.errors import HarnessError
from e2e.harness.install import install

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FILE: Final = REPOSITORY / "build" / "rivals" / "results.json"
PUBLISHED: Final = Path(__file__).parent / "results" / "results.json"
README: Final = Path(__file__).parent / "README.md"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description=__doc__, allow_abbrev=False)
    parser.add_argument("--cluster", default="haldane", help="the kind cluster (default: %(default)s)")
    parser.add_argument("--controllers", default="haldane", help=f"of {','.join(CONTROLLERS)} (default: %(default)s)")
    keys = ",".join(case.key for case in CASES)
    parser.add_argument("--cases", default="", help=f"of {keys},{REST} (default: all)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests/s to each app (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="tries at the same time (default: %(default)s)")
    parser.add_argument("--tries", type=int, default=9, help="at most so many tries of a case with anybody")
    parser.add_argument(
        "--tries-of-others", type=int, default=9, help="at most so many tries of a case with the others"
    )
    parser.add_argument("--first", action="store_true", help="let the cluster and the client go before other programs")
    parser.add_argument(
        "--publish", action="store_true", help="write what was measured so far into bench/rivals/README.md"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing; print what was measured before")
    parser.add_argument("--compile", action="store_true", help="only compile the other controllers")
    parser.add_argument("--remove", action="store_true", help="only remove the other controllers from the cluster")
    return parser


def _running(cluster: str) -> record.Record:
    made = record.read(cluster)
    if made is None or not kind.runs(cluster):
        raise HarnessError(f"Cluster {cluster} does not run: run `make cluster` first.")
    return made


def _measured(options: argparse.Namespace, names: list[str], made: record.Record, found: Results) -> list[str]:
    """Install what is asked for and play it; what could not be measured, as sentences."""
    addresses = read(cluster_addresses.file(options.cluster))
    if HALDANE in names:
        asyncio.run(install(addresses, REPOSITORY / "charts" / "haldane"))
    programs.install([name for name in names if name in programs.RIVALS], made)
    keys = {key for key in options.cases.split(",") if key}
    cases = {
        name: [replace(case, tries=min(case.tries, options.tries)) for case in chosen(keys - {REST}, name)]
        if keys != {REST}
        else []
        for name in names
    }
    plan = Plan(cases, not keys or REST in keys, options.rate, options.at_once, options.tries_of_others)
    with priority.first(made.node) if options.first else contextlib.nullcontext():
        return asyncio.run(Session(addresses, made.node, plan, found, FILE).run())


def main() -> int:
    """Measure and print. Exit status 1 when Haldane misses what it must do, 2 when something could not be measured."""
    options = _parser().parse_args()
    names = [name for name in options.controllers.split(",") if name]
    if unknown := [name for name in names if name not in CONTROLLERS]:
        print(f"error: no such controller: {', '.join(unknown)}; there are {', '.join(CONTROLLERS)}", file=sys.stderr)
        return 2
    found = results.read(FILE)
    wrong: list[str] = []
    try:
        if options.compile:
            programs.compile_missing(list(programs.RIVALS))
            return 0
        if not options.report:
            made = _running(options.cluster)
            if options.remove:
                programs.remove(list(programs.RIVALS), made)
                return 0
            wrong = _measured(options, names, made, found)
    except (BenchError, ClusterError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{report.table(found)}\n{report.reasons(found)}")
    if options.publish:
        found.write(PUBLISHED)
        README.write_text(report.published(README.read_text(), found))
    for sentence in wrong:
        print(f"not measured: {sentence}", file=sys.stderr)
    missed = report.missed(found)
    print(f"MISSED: {'; '.join(missed)}" if missed else "all that was measured is as it must be")
    return 2 if wrong else 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
