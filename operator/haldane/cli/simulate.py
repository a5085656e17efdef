"""`haldane simulate`: what a ModelDeployment's rollout would do, in seconds instead of hours and without a cluster."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from haldane.api.quantity import parse_duration, parse_percent
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import share_at
from haldane.plan.decidable import concerns, counted_requests, visible
from haldane.plan.strategy import in_effect
from haldane.plan.verdicts import percent
from haldane.simulate.faults import BY_NAME, KINDS, Kind
from haldane.simulate.forecast import Forecast, forecast
from haldane.simulate.rollout import Course, simulated
from haldane.simulate.traffic import P99, Service

COLOURS = {"Pass": "green", "Fail": "red", "Inconclusive": "yellow"}


class UnusableFileError(ValueError):
    """The file holds nothing that can be simulated; the message says why."""


def register(commands: Any) -> None:
    """Add the command to those of `haldane`."""
    parser = commands.add_parser(
        "simulate",
        help="play a ModelDeployment's rollout against simulated traffic",
        description="Plays the rollout of a ModelDeployment against traffic with bursts, errors in groups, slow minutes and"
        " gaps in the monitoring, through the operator's own decisions.",
    )
    parser.add_argument("-f", "--filename", type=Path, required=True, help="YAML file with a ModelDeployment")
    parser.add_argument(
        "--scenario", choices=[*BY_NAME], help="draw the course of this kind of version (default: good)"
    )
    parser.add_argument(
        "--rate", type=float, default=100.0, help="requests a second of the whole service (default: 100)"
    )
    parser.add_argument("--errors", default="1%", help="stable's error rate (default: 1%%)")
    parser.add_argument("--p99", default="60ms", help="stable's 99 %% quantile of the latency (default: 60ms)")
    parser.add_argument("--scrape", default="15s", help="how often Prometheus scrapes the pods (default: 15s)")
    parser.add_argument("--rollouts", type=int, default=40, help="rollouts of each kind (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another draw (default: 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Simulate and print; 1 when the spec gives cause for concern, 2 when it cannot be used."""
    console = Console(highlight=False)
    try:
        md = read(options.filename)
        service = service_of(options)
        scrape = max(1, round(parse_duration(options.scrape).total_seconds()))
    except (UnusableFileError, OSError, ValueError) as problem:
        print(f"haldane simulate: {problem}", file=sys.stderr)
        return 2
    effective = in_effect(md)
    worries = concerns(effective, service.rate, service.errors)
    if parse_duration(md.spec.rollout.analysis.interval).total_seconds() < scrape:
        worries.append(f"Prometheus scrapes every {scrape}s: looking more often, at every interval, sees nothing new")
    console.print(_steps(effective, service))
    left_out = [check.name for check in md.spec.rollout.checks if check not in simulated(md).spec.rollout.checks]
    if left_out:
        console.print(f"Left out, for what your own queries give cannot be known here: {', '.join(left_out)}.")
    for worry in worries:
        console.print(Text(f"warning: {worry}", style="yellow"))
    md = simulated(md)
    wanted = BY_NAME[options.scenario or "good"]
    kinds = [kind for kind in KINDS if kind.is_good or not options.scenario or kind is wanted]
    forecasts = []
    for kind in kinds:
        found, first = forecast(md, service, kind, options.rollouts, options.seed, scrape)
        forecasts.append(found)
        if kind is wanted:
            console.print(_timeline(kind, first))
    console.print(_forecasts(forecasts))
    return 1 if worries else 0


def read(path: Path) -> ModelDeployment:
    """The first ModelDeployment of a YAML file. Raises UnusableFileError when there is none that can be used."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text()) if isinstance(each, dict)]
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UnusableFileError(f"{path} is no YAML: {problem}") from None
    found = next((each for each in documents if each.get("kind") == "ModelDeployment"), None)
    if found is None:
        raise UnusableFileError(f"{path} holds no ModelDeployment")
    metadata = {"namespace": "default", "uid": "simulated", "generation": 1, **(found.get("metadata") or {})}
    try:
        return ModelDeployment.from_wire({**found, "metadata": metadata, "status": {}})
    except ValidationError as problem:
        details = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
            for each in problem.errors(include_url=False, include_context=False, include_input=False)
        )
        raise UnusableFileError(f"{path} cannot be used: {details}") from None


def service_of(options: argparse.Namespace) -> Service:
    """The service that the options describe. Raises ValueError with what to write instead."""
    if not options.rate > 0:
        raise ValueError("--rate: write requests a second, above 0")
    if options.rollouts < 1:
        raise ValueError("--rollouts: write a number of at least 1")
    usual = Service()
    p99 = parse_duration(options.p99).total_seconds()
    median = p99 / math.exp(P99 * usual.spread)
    return Service(rate=options.rate, errors=parse_percent(options.errors), median=median)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _steps(md: ModelDeployment, service: Service) -> Table:
    table = _table("Steps")
    for heading in ("step", "weight", "hold", "share", "requests that count", "error rate that would be seen"):
        table.add_column(heading)
    rule = next((check.error_rate for check in md.spec.rollout.checks if check.error_rate), None)
    limit = rule and (rule.max_increase or rule.max)
    for number, step in enumerate(md.spec.rollout.steps, 1):
        seen = ""
        if rule and limit:
            seen = percent(visible(md, step, service.rate, limit, service.errors, bool(rule.max_increase)))
        requests = f"{counted_requests(md, step, service.rate):,.0f}"
        table.add_row(str(number), f"{step.weight} %", step.hold, f"{share_at(md, step.weight):.0%}", requests, seen)
    return table


def _timeline(kind: Kind, course: Course) -> Table:
    """One line for each change of phase, weight or verdict."""
    table = _table(f"One rollout of a version that is {kind.title}")
    for heading in ("time", "weight", "phase", "what"):
        table.add_column(heading)
    before: tuple[str, int] | None = None
    told: dict[str, str] = {}
    for moment in course.moments:
        now = (moment.phase, moment.weight)
        what = Text(moment.status.message if now != before else "")
        told = told if now == before else {}
        for check in moment.status.checks if moment.phase in ("Progressing", "Watching") else []:
            if check.requests is None or told.get(check.name) == check.verdict:
                continue
            told[check.name] = check.verdict
            what.append("\n" if what else "").append(f"{check.name}: ").append(check.verdict, COLOURS[check.verdict])
            what.append(f", {check.message}", style="dim")
        if what:
            bar = "█" * round(moment.weight / 10) or ("▏" if moment.weight else "")
            table.add_row(_clock(moment.second), f"{moment.weight:>3} % {bar}", moment.phase, what)
        before = now
    return table


def _forecasts(forecasts: list[Forecast]) -> Table:
    first = forecasts[0]
    table = _table(f"{first.rollouts} rollouts of each kind of version")
    headings = ("the new version is", "promoted", "after", "rolled back", "after", "undecided", "spoilt requests")
    for heading in headings:
        table.add_column(heading)
    for each in forecasts:
        wrong = each.rolled_back if each.kind.is_good else each.promoted
        table.add_row(
            each.kind.title,
            f"{each.promoted / each.rollouts:.0%}",
            _span(each.promoted_after),
            f"{each.rolled_back / each.rollouts:.0%}",
            _span(each.rolled_back_after),
            f"{(each.rollouts - each.promoted - each.rolled_back) / each.rollouts:.0%}",
            f"{each.spoilt:,.0f}",
            style="red" if wrong > 0.1 * each.rollouts else "",
        )
    table.caption = (
        "after: median, and 19 of 20 are sooner than; spoilt: errors and slow answers that stable would not have given"
    )
    table.caption_justify = "left"
    return table


def _span(seconds: tuple[float, float] | None) -> str:
    return "" if seconds is None else f"{_clock(int(seconds[0]))}, {_clock(int(seconds[1]))}"


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
