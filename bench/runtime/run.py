"""One run: rounds over all servers, so that whatever drifts meets every one of them."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.markup import escape

from bench.runtime import goals, machine, models, plan, session, tools
from bench.runtime.loads import Reading
from bench.runtime.plan import Cell, Pace
from bench.runtime.processes import BenchError
from bench.runtime.results import LIMIT, Results
from bench.runtime.servers import Server, echo
from bench.runtime.session import Bench, Expected, Session

MODELS = ("mlp", "trees", "image")
ECHO_CELL = Cell("json", "mlp", "json", 1)
ECHO_TURNS = 5
LIMIT_SECONDS = 4.0


class Run:
    """`prepare` makes what is needed, `measure` fills `results`."""

    def __init__(
        self, servers: Sequence[Server], names: Collection[str], pace: Pace, first: bool, console: Console
    ) -> None:
        self._servers, self._names, self._pace, self._console = servers, names, pace, console
        self._first = first
        self._began = time.monotonic()
        self._rates: Mapping[str, Sequence[float]] = {}
        self.results = Results(machine.describe())

    def prepare(self) -> None:
        """Everything that takes time but is not measured.

        Raises:
            BenchError: when a program or an environment could not be made.
        """
        self._say("load generators and models")
        logs = tools.HERE.parent.parent / "build/bench/logs"
        self._bench = Bench(tools.wrk(), tools.load_generator(), logs, self._first)
        self._expected = {name: Expected(model) for name, model in models.make(tools.cache() / "models").items()}
        for server in self._servers:
            self._say(f"environment of {server.title}")
            server.interpreter()
        tools.environment("plot")

    def measure(self) -> None:
        """In each round every server is started once a model.

        The first round tells the peaks, from which the rates of the open loop follow; a run of one round is given a second one
        for the open loop alone. A server that fails is noted, and tried again in the next round.
        """
        for number in range(max(self._pace.rounds, 2)):
            for model in MODELS:
                closed = number < self._pace.rounds
                if closed:
                    self._limits(model)
                for server in plan.turn(self._servers, number):
                    cells = plan.cells(server, model, self._names, self._pace.quick) if closed else []
                    rates = self._rates.get(server.name, ()) if model == "mlp" else ()
                    if cells or rates:
                        self._start(f"round {number + 1}", server, model, cells, rates)
            if number == 0 and "open" in self._names:
                found = {server.name: self.results.get(server.name, plan.PEAK) for server in self._servers}
                peaks = {name: summary.rate for name, summary in found.items() if summary}
                self._rates = plan.open_rates(peaks, goals.OURS, self._pace.quick)

    def _limits(self, model: str) -> None:
        """What is no server: the raw session, and for the smallest requests a raw ASGI application."""
        if not any(cell.model == model and cell.name in self._names for cell in plan.CELLS):
            return
        self._say(f"raw session.run, {model}")
        for way in session.limit(self._expected[model].model, LIMIT_SECONDS):
            reading = Reading(way["rate"], way["p50"], way["p99"], way["p99"], 0, {})
            self.results.add(LIMIT, f"{model} {way['callers']:.0f} callers, {way['threads']:.0f} threads", reading)
        if model == "mlp" and "json" in self._names:
            self._one_connection()

    def _one_connection(self) -> None:
        """Raw ASGI applications and our own server by turns of a second: the latency of one connection moves with the machine."""
        expected = self._expected["mlp"]
        answer = {name: value.tolist() for name, value in expected.answers[0].items()}
        size = len(json.dumps(answer)) + 100
        ours = [server for server in self._servers if server.name == goals.OURS]
        with ExitStack() as stack:
            running = {
                server.name: stack.enter_context(session.started(self._bench, server, expected))
                for server in (echo(size, run=False), echo(size, run=True), *ours)
            }
            for _ in range(ECHO_TURNS):
                for name, one in running.items():
                    self.results.add(name, ECHO_CELL.key, one.measure(ECHO_CELL, 1))

    def _start(self, label: str, server: Server, model: str, cells: Sequence[Cell], rates: Sequence[float]) -> None:
        try:
            with session.started(self._bench, server, self._expected[model]) as running:
                for cell in cells:
                    self._cell(f"{label}  {server.title}  {cell.key}", running, server, cell)
                for rate in rates:
                    self._say(f"{label}  {server.title}  open loop, {rate:.0f}/s")
                    reading = running.measure_open(rate, self._pace.open_seconds)
                    self.results.add_open(server.name, rate, reading)
                    self._show(reading)
        except BenchError as error:
            self._note(f"{server.title}, {model}: {error}")

    def _cell(self, label: str, running: Session, server: Server, cell: Cell) -> None:
        self._say(label)
        try:
            reading = running.measure(cell, self._pace.of(cell))
        except BenchError as error:
            self._note(f"{server.title}, {cell.key}: {error}")
            return
        self.results.add(server.name, cell.key, reading)
        self._show(reading)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.0f} s[/dim]  {escape(text)}", highlight=False)

    def _show(self, reading: Reading) -> None:
        failed = f"  [red]{escape(str(dict(reading.errors)))}[/red]" if reading.failed else ""
        figures = f"{reading.rate:9.0f}/s  p50 {reading.p50 * 1e3:.2f} ms  p99 {reading.p99 * 1e3:.2f} ms"
        cores = f"cores: server {reading.server_cores:.2f}, load {reading.load_cores:.2f}, others {reading.foreign_cores:.2f}"
        if reading.rate:
            cores += f"; server {reading.server_cores / reading.rate * 1e6:.0f} us an answer"
        self._console.print(f"         {figures}  [dim]{cores}[/dim]{failed}", highlight=False)

    def _note(self, text: str) -> None:
        if text not in self.results.notes:
            self.results.notes.append(text)
        self._console.print(text, style="red", highlight=False, markup=False)
