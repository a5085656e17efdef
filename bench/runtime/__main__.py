"""Haldane beside other servers of the same models: `python -m bench.runtime`, see bench/README.md."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.runtime import goals, machine, models, plan, processes, report, session, tools
from bench.runtime.loads import Reading
from bench.runtime.plan import Pace
from bench.runtime.processes import BenchError
from bench.runtime.results import ECHO, LIMIT, Results
from bench.runtime.servers import SERVERS, Server, echo
from bench.runtime.session import Bench, Expected

ECHO_CELL = plan.Cell("json", "mlp", "json", 1)


class Run:
    """One run over all chosen servers and cells."""

    def __init__(self, servers: Sequence[Server], names: Collection[str], pace: Pace, console: Console) -> None:
        self._servers, self._names, self._pace, self._console = servers, names, pace, console
        self._began = time.monotonic()
        self.results = Results(machine.describe())
        self.lost: set[tuple[str, str]] = set()

    def prepare(self) -> None:
        """Everything that takes time but is not measured."""
        self._say("load generators and models")
        self._bench = Bench(tools.wrk(), tools.load_generator(), tools.HERE.parent.parent / "build/bench/logs")
        self._expected = {name: Expected(model) for name, model in models.make(tools.cache() / "models").items()}
        for server in self._servers:
            self._say(f"environment of {server.title}")
            server.interpreter()

    def closed(self) -> None:
        """Rounds over all servers; in each a server is started once a model."""
        for number in range(self._pace.rounds):
            for model in ("mlp", "trees", "image"):
                self._limit(model)
                for server in plan.turn(self._servers, number):
                    cells = plan.cells(server, model, self._names, self._pace.quick)
                    if cells:
                        self._start(f"round {number + 1}/{self._pace.rounds}", server, model, cells)

    def _limit(self, model: str) -> None:
        """What is no server: the raw session, and for the smallest requests a raw ASGI application."""
        wanted = any(cell.model == model and cell.name in self._names for cell in plan.CELLS)
        if not wanted:
            return
        self._say(f"raw session.run, {model}")
        for way in session.limit(self._expected[model].model, 3.0 * self._pace.seconds):
            reading = Reading(way["rate"], way["p50"], way["p99"], way["p99"], 0, {})
            self.results.add(LIMIT, f"{model} {way['callers']:.0f} callers, {way['threads']:.0f} threads", reading)
        if model == "mlp" and "json" in self._names:
            answer = {name: value.tolist() for name, value in self._expected[model].answers[0].items()}
            size = len(json.dumps(answer)) + 100
            with session.started(self._bench, echo(size), self._expected[model]) as running:
                self.results.add(ECHO, ECHO_CELL.key, running.measure(ECHO_CELL, self._pace.seconds))

    def _start(self, label: str, server: Server, model: str, cells: Sequence[plan.Cell]) -> None:
        if (server.name, model) in self.lost:
            return
        try:
            with session.started(self._bench, server, self._expected[model]) as running:
                for cell in cells:
                    if (server.name, cell.wire) in self.lost:
                        continue
                    self._say(f"{label}  {server.title}  {cell.key}")
                    try:
                        reading = running.measure(cell, self._pace.of(cell))
                    except BenchError as error:
                        self._note(f"{server.title}, {cell.name}: {error}")
                        self.lost.add((server.name, cell.wire))
                        continue
                    self.results.add(server.name, cell.key, reading)
                    self._show(reading)
        except BenchError as error:
            self._note(f"{server.title}, {model}: {error}")
            self.lost.add((server.name, model))

    def open(self) -> None:
        """JSON to the MLP at 80 % of every server's peak."""
        if "open" not in self._names:
            return
        peaks = {}
        for server in self._servers:
            if summary := self.results.get(server.name, plan.PEAK):
                peaks[server.name] = summary.rate
        rates = plan.open_rates(peaks, goals.OURS, self._pace.quick)
        for number in range(self._pace.open_rounds):
            for server in plan.turn([server for server in self._servers if server.name in rates], number):
                try:
                    with session.started(self._bench, server, self._expected["mlp"]) as running:
                        for rate in rates[server.name]:
                            self._say(f"open loop {number + 1}/{self._pace.open_rounds}  {server.title}  {rate:.0f}/s")
                            reading = running.measure_open(rate, self._pace.open_seconds)
                            self.results.add_open(server.name, rate, reading)
                            self._show(reading)
                except BenchError as error:
                    self._note(f"{server.title}, open loop: {error}")

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.0f} s[/dim]  {text}", highlight=False)

    def _show(self, reading: Reading) -> None:
        failed = f"  [red]{dict(reading.errors)}[/red]" if reading.failed else ""
        figures = f"{reading.rate:9.0f}/s  p50 {reading.p50 * 1e3:.2f} ms  p99 {reading.p99 * 1e3:.2f} ms"
        cores = f"cores: server {reading.server_cores:.2f}, load {reading.load_cores:.2f}, others {reading.foreign_cores:.2f}"
        if reading.rate:
            cores += f"; server {reading.server_cores / reading.rate * 1e6:.0f} us an answer"
        self._console.print(f"         {figures}  [dim]{cores}[/dim]{failed}", highlight=False)

    def _note(self, text: str) -> None:
        self.results.notes.append(text)
        self._console.print(f"[red]{text}[/red]", highlight=False, markup=True)


def main() -> int:
    """1 when a goal is missed, 2 when the measurement could not be made."""
    options = _parser().parse_args()
    console = Console()
    servers = [server for server in SERVERS if not options.only or server.name in options.only]
    pace = plan.QUICK if options.quick else plan.FULL
    processes.adopt_orphans()
    # The same clean end for a termination as for Ctrl-C: every server is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(servers, options.cells or plan.NAMES, pace, console)
    try:
        run.prepare()
        run.closed()
        run.open()
    except BenchError as error:
        console.print(f"[red]{error}[/red]")
        return 2
    except KeyboardInterrupt:
        console.print("stopped; every server that was started has been ended")
        return 130
    whole = not (options.quick or options.only or options.cells)
    out = options.out or (tools.HERE / "results" if whole else tools.HERE.parent.parent / "build/bench/runtime")
    return _write(run.results, servers, pace, out, options.publish, console)


def _write(results: Results, servers: Sequence[Server], pace: Pace, out: Path, publish: bool, console: Console) -> int:
    titles = {server.name: server.title for server in servers}
    results.write(out / "results.json", {"pace": asdict(pace), "titles": titles})
    (out / "table.md").write_text(report.markdown(results, servers, "plot.svg"))
    tools.draw(out / "results.json", out / "plot.svg")
    if publish:
        readme = tools.HERE.parent / "README.md"
        report.publish(readme, report.markdown(results, servers, os.path.relpath(out / "plot.svg", readme.parent)))
    missed = report.show(results, servers, console)
    console.print(f"written to {out}")
    return missed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.runtime", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, about 3 minutes")
    parser.add_argument("--only", type=_names([server.name for server in SERVERS]), metavar="SERVER,...")
    parser.add_argument("--cells", type=_names(plan.NAMES), metavar="CELL,...", help=f"of {', '.join(plan.NAMES)}")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the results (default: bench/runtime/results, or build/ for a part of a run)",
    )
    parser.add_argument("--publish", action="store_true", help="put the tables into bench/README.md, too")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is not one of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
