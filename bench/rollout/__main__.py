"""How often rollouts are decided rightly, how soon, and at what cost, by simulation.

    .venv/bin/python -m bench.rollout [--rollouts 10000] [--others 1000] [--processes 2]

Whole rollouts are played through the operator's own decisions (`haldane.simulate`) at the default settings: A/A rollouts
for false alarms, bad candidates for what is caught when. The rules of Flagger and of Argo Rollouts decide on the same traffic.
Writes results.json, results.md and results.svg into bench/rollout/results/.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.rollout import report
from bench.rollout.rivals import RULES
from bench.rollout.rivals import play as play_rival
from bench.rollout.scenarios import ALL, MAIN, SAME, SENSITIVITY, by_default
from haldane.simulate.rollout import Play

RESULTS = Path(__file__).parent / "results"
CHUNK = 25
PROGRESS = 30.0
"""Seconds between two lines of progress."""

Row = dict[str, Any]
Job = tuple[str, str, int, range]
"""Whose rollouts, of which scenario, with which seed, and which of them."""


def ours(name: str, seed: int, numbers: range) -> list[Row]:
    """Rollouts of a scenario by Haldane."""
    scenario, md, rows = ALL[name], by_default(), []
    for number in numbers:
        around, random = scenario.surroundings(seed, number)
        course = Play(md, around, scenario.fault, random).run()
        first, rolled_back = course.first_weight or 0, course.outcome == "rolled back"
        early = rolled_back and (course.step == 0 or (course.ended or 0) <= course.hold_ends.get(1, 1 << 30))
        rows.append(
            {
                "outcome": course.outcome,
                "step": course.step,
                "check": course.check,
                "seconds": None if course.ended is None else course.ended - first,
                "in_hold": bool(early),
                "held": not rolled_back and 1 not in course.step_ended,
                "spoilt": course.spoilt,
            }
        )
    return rows


def theirs(name: str, seed: int, numbers: range) -> list[Row]:
    """The same rollouts by each of the rivals' rules."""
    scenario, rows = ALL[name], []
    for number in numbers:
        for rule in RULES:
            around, random = scenario.surroundings(seed, number)
            ended = play_rival(rule, around, scenario.fault, random)
            rows.append(
                {
                    "rule": rule.name,
                    "outcome": ended.outcome,
                    "step": ended.step,
                    "seconds": ended.ended,
                    "spoilt": ended.spoilt,
                }
            )
    return rows


def _work(job: Job) -> tuple[Job, list[Row]]:
    side, name, seed, numbers = job
    return job, (ours if side == "ours" else theirs)(name, seed, numbers)


def jobs(rollouts: int, others: int, rivals: int, seed: int, only: list[str]) -> Iterator[Job]:
    """Parts of the work; the many A/A rollouts last."""
    wanted = [s for s in (*MAIN[1:], *SENSITIVITY, SAME) if not only or s.name in only]
    for scenario in wanted:
        count = rollouts if scenario is SAME else others
        for begin in range(0, count, CHUNK):
            yield "ours", scenario.name, seed, range(begin, min(begin + CHUNK, count))
        if scenario in MAIN:
            for begin in range(0, rivals, CHUNK):
                yield "theirs", scenario.name, seed, range(begin, min(begin + CHUNK, rivals))


def done_before(parts: Path) -> dict[str, tuple[str, str, list[Row]]]:
    """What an interrupted run has done, by the key of each part."""
    if not parts.exists():
        return {}
    lines = [json.loads(line) for line in parts.read_text().splitlines()]
    return {line["key"]: (line["side"], line["name"], line["rows"]) for line in lines}


def key(job: Job) -> str:
    """A part of the work by name."""
    side, name, seed, numbers = job
    return f"{side} {name} {seed} {numbers.start}-{numbers.stop}"


def main() -> None:
    """Run, and write the results."""
    parser = argparse.ArgumentParser(prog="bench.rollout", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=10_000, help="A/A rollouts (default: 10000)")
    parser.add_argument("--others", type=int, default=1000, help="rollouts of every other scenario (default: 1000)")
    parser.add_argument(
        "--rivals", type=int, default=300, help="rollouts of a scenario by each rival's rule (default: 300)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another draw (default: 1)")
    parser.add_argument("--only", nargs="*", default=[], choices=[*ALL], metavar="NAME", help="only these scenarios")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument(
        "--parts", type=Path, help="file to keep finished parts in: the same command then goes on from there"
    )
    options = parser.parse_args()
    todo = list(jobs(options.rollouts, options.others, options.rivals, options.seed, options.only))
    before = done_before(options.parts) if options.parts else {}
    rows: dict[str, dict[str, list[Row]]] = {"ours": {}, "theirs": {}}
    for job in todo:
        if key(job) in before:
            side, name, found = before[key(job)]
            rows[side].setdefault(name, []).extend(found)
    left = [job for job in todo if key(job) not in before]
    began = told = time.monotonic()
    with multiprocessing.Pool(options.processes) as pool:
        for done, (job, found) in enumerate(pool.imap_unordered(_work, left), 1):
            side, name = job[:2]
            rows[side].setdefault(name, []).extend(found)
            if options.parts:
                with options.parts.open("a") as file:
                    file.write(json.dumps({"key": key(job), "side": side, "name": name, "rows": found}) + "\n")
            if time.monotonic() - told > PROGRESS or done == len(left):
                told = time.monotonic()
                print(f"{done} of {len(left)} parts after {told - began:.0f} s", flush=True)
    summary = report.summarise(rows, options.seed, time.monotonic() - began)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.out / "results.md").write_text(report.markdown(summary))
    (options.out / "results.svg").write_text(report.svg(summary))
    print(report.markdown(summary))


if __name__ == "__main__":
    main()
