"""Haldane beside other servers of the same models: `python -m bench.runtime`, see bench/README.md."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench.runtime import plan, processes, report, tools
from bench.runtime.plan import Pace
from bench.runtime.processes import BenchError
from bench.runtime.results import Results
from bench.runtime.run import Run
from bench.runtime.servers import SERVERS, Server


def main() -> int:
    """1 when a goal is missed, 2 when the measurement could not be made."""
    options = _parser().parse_args()
    console = Console()
    servers = [server for server in SERVERS if not options.only or server.name in options.only]
    pace = plan.QUICK if options.quick else plan.FULL
    if options.rounds:
        pace = replace(pace, rounds=options.rounds)
    processes.adopt_orphans()
    # The same clean end for a termination as for Ctrl-C: every server is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    partial = tools.HERE.parent.parent / "build/bench/runtime"
    run = Run(servers, options.cells or plan.NAMES, pace, options.first, console)
    try:
        with processes.going_first(os.getpid()) if options.first else nullcontext():
            run.prepare()
            run.measure()
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped; every server that was started has been ended")
        run.results.notes.append("The run was stopped before its end.")
        _write(run.results, servers, pace, options.out or partial, False, console)
        return 130
    whole = not (options.quick or options.only or options.cells)
    out = options.out or (tools.HERE / "results" if whole else partial)
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
    parser.add_argument("--quick", action="store_true", help="one round of what the goals speak of, shorter")
    parser.add_argument("--rounds", type=int, help="other than 3, or 1 for a quick run")
    parser.add_argument("--only", type=_names([server.name for server in SERVERS]), metavar="SERVER,...")
    parser.add_argument("--cells", type=_names(plan.NAMES), metavar="CELL,...", help=f"of {', '.join(plan.NAMES)}")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the results (default: bench/runtime/results, or build/ for a part of a run)",
    )
    parser.add_argument("--first", action="store_true", help="go before other programs on a busy machine (needs root)")
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
