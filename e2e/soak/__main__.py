"""`python -m e2e.soak`: up to half an hour of edits, kills and faults on a cluster; ends with 0 when every law held."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from e2e.cluster.addresses import file as cluster_file
from e2e.harness.addresses import read as read_addresses
from e2e.harness.errors import HarnessError
from e2e.scenarios.errors import Unmet
from e2e.soak.outcome import Outcome, Wishes
from e2e.soak.soak import REPOSITORY, Soak
from e2e.soak.summary import findings, table

SHORTEST: Final = 300
LONGEST: Final = 1800
CLEANING: Final = 45.0
"""Seconds kept for taking away what was made, when the rest does not end by itself."""
_LOG_WIDTH: Final = 160


async def soak(console: Console, cluster: str, wishes: Wishes, folder: Path) -> bool:
    """Play, judge and show; whether every law held."""
    played = Soak(read_addresses(cluster_file(cluster)), folder, wishes, console)
    try:
        async with asyncio.timeout(wishes.seconds - CLEANING):
            await played.play()
    except TimeoutError:
        console.print(f"It did not end within {wishes.seconds:.0f} s.", style="bold red")
    except (HarnessError, Unmet) as error:
        console.print(str(error), markup=False, soft_wrap=True, style="bold red")
    return show(console, played.outcome)


def show(console: Console, outcome: Outcome) -> bool:
    """The table, and every breach as a line; whether there is none."""
    found = findings(outcome)
    console.print(table(outcome, found))
    breaches = [breach for each in found for breach in each.breaches]
    for breach in breaches:
        console.print(f"✗ {breach}", markup=False, soft_wrap=True, style="bold red")
    return not breaches


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.soak", description=__doc__)
    parser.add_argument("--cluster", default="haldane", help="name of the cluster (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=1500, help=f"{SHORTEST} to {LONGEST}, all in all (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="what is drawn from; printed, so that it can be drawn again")
    parser.add_argument("--kills", type=int, default=50, help="kill -9 of the operator (default: %(default)s)")
    parser.add_argument("--places", type=int, default=3, help="models that are played with (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second to each (default: %(default)s)")
    given = parser.parse_args(arguments)
    if not SHORTEST <= given.seconds <= LONGEST:
        parser.error(f"--seconds must be from {SHORTEST} to {LONGEST}")
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    folder = REPOSITORY / "build" / "soak"
    wishes = Wishes(given.seconds, seed, given.kills, given.places, given.rate)
    console.print(f"soak of {given.seconds} s, seed {seed}; the same again: --seed {seed}", style="bold")
    try:
        held = asyncio.run(soak(console, given.cluster, wishes, folder))
    except HarnessError as error:
        console.print(str(error), markup=False, soft_wrap=True, style="bold red")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. `make cluster-down` removes the cluster; the next run removes what this one left.")
        return 130
    console.print("Every law held." if held else f"Not every law held: seed {seed}; logs are in {folder}.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
