"""The readings as tables: for the terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.runtime import goals
from bench.runtime.plan import CELLS
from bench.runtime.results import ECHO, ECHO_AND_RUN, LIMIT, Results
from bench.runtime.servers import Server
from bench.runtime.statistics import Summary

BEGIN, END = "<!-- runtime: begin, written by python -m bench.runtime --publish -->", "<!-- runtime: end -->"
NOISE_CORES = 0.25
"""Other programs that took more than this of the cores make a figure doubtful."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table before it is drawn: the first column holds names, the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def sheets(results: Results, servers: Sequence[Server]) -> list[Sheet]:
    """All tables of one run; cells without a reading are empty."""
    return [
        sheet
        for sheet in (_verdicts(results, servers), _throughput(results, servers), *_latency(results, servers))
        if sheet.rows
    ]


def show(results: Results, servers: Sequence[Server], console: Console) -> int:
    """Print everything; 1 when a goal is missed."""
    for sheet in sheets(results, servers):
        table = Table(title=sheet.title, title_justify="left", title_style="bold")
        table.add_column(sheet.columns[0])
        for column in sheet.columns[1:]:
            table.add_column(column, justify="right", overflow="fold")
        for row in sheet.rows:
            style = {"met": "green", "not met": "red"}.get(row[-1])
            table.add_row(*row, style=style)
        console.print(table)
    for note in notes(results):
        console.print(note, style="yellow", highlight=False)
    return int(any(not verdict.met for verdict in goals.judge(results, servers)))


def markdown(results: Results, servers: Sequence[Server], plot: str = "") -> str:
    """The same for a file; `plot` is the path of the picture, if there is one."""
    lines = ["Measured on: " + ", ".join(f"{name} {value}" for name, value in results.machine.items()) + ".", ""]
    for sheet in sheets(results, servers):
        lines += [f"{sheet.title}", "", _line(sheet.columns), _line(["---"] + ["---:"] * (len(sheet.columns) - 1))]
        lines += [*map(_line, sheet.rows), ""]
    if plot:
        lines += [f"![Throughput and tail latency of the servers]({plot})", ""]
    if found := notes(results):
        lines += [*(f"- {note}" for note in found), ""]
    lines += ["| server | version and settings |", "|---|---|"]
    lines += [_line([server.title, server.settings]) for server in servers]
    return "\n".join(lines) + "\n"


def publish(path: Path, text: str) -> None:
    """Put the text between the marks of a Markdown file.

    Raises:
        ValueError: when the file has no such marks.
    """
    head, begin, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} lacks the marks between which the table goes: {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")


def notes(results: Results) -> list[str]:
    """What a reader must know besides the figures: failures, and that the machine was not quiet."""
    found = [note.splitlines()[0] for note in results.notes]
    for server, cells in results.closed.items():
        for key in cells:
            if (summary := results.get(server, key)) and summary.failed:
                found.append(f"{server}, {key}: {summary.failed} requests failed.")
    shares = [reading.foreign_cores for cells in results.closed.values() for all_ in cells.values() for reading in all_]
    if shares and (noisy := sum(share > NOISE_CORES for share in shares)):
        found.append(
            f"Other programs took more than {NOISE_CORES:g} of a core during {noisy} of {len(shares)} closed-loop readings "
            f"({max(shares):.1f} cores at the most)."
        )
    return found


def _verdicts(results: Results, servers: Sequence[Server]) -> Sheet:
    rows = [[v.goal, v.measured, "met" if v.met else "not met"] for v in goals.judge(results, servers)]
    return Sheet("Goals, as ratios within this run", ["goal", "measured", ""], rows)


def _throughput(results: Results, servers: Sequence[Server]) -> Sheet:
    keys = [cell.key for cell in CELLS if any(cell.key in cells for cells in results.closed.values())]
    rows = []
    for server in servers:
        found = [results.get(server.name, key) for key in keys]
        if any(found):
            figures = [_median(one) if one else "" for one in found]
            rows.append([server.title, *figures])
    for name, title in ((ECHO, "raw ASGI echo"), (ECHO_AND_RUN, "raw ASGI echo with session.run")):
        if echo := results.get(name, "json c=1"):
            rows.append([title, *(_figure(echo.rate) if key == "json c=1" else "" for key in keys)])
    limits = {"json": "mlp", "image": "image", "trees": "trees"}
    if LIMIT in results.closed:
        rates = [goals.limit(results, limits.get(key.split()[0], "mlp")) for key in keys]
        rows.append(["raw session.run", *(_figure(rate) if rate else "" for rate in rates)])
    title = "Answers a second in a closed loop with c requests in flight (median of the rounds, ± half their range)"
    return Sheet(title, ["server", *keys], rows)


def _latency(results: Results, servers: Sequence[Server]) -> list[Sheet]:
    keys = [cell.key for cell in CELLS if any(cell.key in cells for cells in results.closed.values())]
    rows = []
    for server in servers:
        found = [results.get(server.name, key) for key in keys]
        if any(found):
            figures = [f"{_time(one.p50)} / {_time(one.p99)}" if one else "" for one in found]
            rows.append([server.title, *figures])
    closed = Sheet("Latency in the closed loop, p50 / p99 in ms", ["server", *keys], rows)
    rates = results.rates()
    tails = []
    for server in servers:
        at = [results.at(server.name, rate) for rate in rates]
        if any(at):
            tails.append([server.title, *(_tail(one.p99, one.failed) if one else "" for one in at)])
    title = "p99 in ms in an open loop at fixed rates a second (JSON, MLP; the rates are 80 % of each server's peak)"
    return [closed, _cost(results, servers, keys), Sheet(title, ["server", *map(_figure, rates)], tails)]


def _cost(results: Results, servers: Sequence[Server], keys: Sequence[str]) -> Sheet:
    rows = []
    for server in servers:
        found = [results.get(server.name, key) for key in keys]
        if any(found):
            rows.append([server.title, *(f"{one.cost * 1e6:,.0f}" if one and one.rate else "" for one in found)])
    return Sheet("Processor time of the server for one answer, us", ["server", *keys], rows)


def _median(summary: Summary) -> str:
    spread = f" ±{summary.spread:.0%}" if summary.high > summary.low else ""
    return f"{_figure(summary.rate)}{spread}"


def _tail(p99: float, failed: int) -> str:
    return f"{_time(p99)} ({failed} lost)" if failed else _time(p99)


def _figure(rate: float) -> str:
    return f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
