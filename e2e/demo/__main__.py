"""`python -m e2e.demo`: plays the whole story on a cluster; ends with 0 when all of it came true."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from e2e.cluster import addresses as cluster_addresses
from e2e.demo import ground
from e2e.demo.chapters import CHAPTERS
from e2e.demo.scene import Scene
from e2e.demo.screen import Screen
from e2e.demo.story import play
from e2e.demo.summary import complaints, examples_of_failures, table
from e2e.harness import addresses, models
from e2e.harness.client import Pace, Target, send_steadily, wait_until_answered
from e2e.harness.errors import HarnessError
from e2e.harness.install import install
from e2e.harness.kube import Kube
from e2e.harness.tally import Tally
from examples.dataset import holdout_rows

REPOSITORY: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = REPOSITORY / "examples"
NAMESPACE: Final = "demo"
NAME: Final = "digits"
HOST: Final = "digits.example.com"
_LOG_WIDTH: Final = 130
_LAST_ANSWERS_SECONDS: Final = 15.0


async def demo(console: Console, cluster_file: Path, models_folder: Path, pace: Pace) -> bool:
    """Prepares, plays and sums up; True when everything happened that must. Raises HarnessError when it could not go on."""
    where = addresses.read(cluster_file)
    async with Kube(where, NAMESPACE) as kube:
        with _step(console, "models"):
            await asyncio.to_thread(models.train_if_needed, models_folder, EXAMPLES, console)
            await asyncio.to_thread(models.upload, models_folder, where.s3_url)
        with _step(console, "chart"):
            await install(where, REPOSITORY / "charts" / "haldane")
        with _step(console, f"namespace {NAMESPACE} without models"):
            await kube.start_afresh()
            await kube.kubectl("apply", "-f", EXAMPLES / "secret.yaml")
        scene = Scene(CHAPTERS, Tally())
        target = Target(where.ingress_url, HOST, NAME)
        try:
            with Screen(console, scene) as screen:
                await _story(kube, scene, screen, target, pace)
        except HarnessError as error:
            console.print(f"{error}", markup=False, soft_wrap=True, style="bold red")
        wrong = complaints(CHAPTERS, scene.results, scene.tally)
        console.print(table(CHAPTERS, scene.results, scene.tally))
        for note in scene.notes if console.is_terminal else []:
            console.print(f"  {note}", markup=False, soft_wrap=True, style="dim")
        for line in examples_of_failures(scene.tally):
            console.print(f"  {line}", markup=False, soft_wrap=True, style="dim")
        if wrong:
            console.print(await kube.diagnosis(NAME), markup=False, soft_wrap=True)
        for sentence in wrong:
            console.print(f"✗ {sentence}", markup=False, soft_wrap=True, style="bold red")
        return not wrong


async def _story(kube: Kube, scene: Scene, screen: Screen, target: Target, pace: Pace) -> None:
    first, *others = scene.chapters
    rows = holdout_rows()
    result = await play(first, NAME, kube, EXAMPLES, scene, screen.show)
    if result.complaint is not None:
        raise HarnessError(f"{result.complaint}: without it there is nothing to replace.")
    await wait_until_answered(target, rows, first.version, seconds=30)
    async with _traffic(target, scene, pace):
        for chapter in others:
            if (await play(chapter, NAME, kube, EXAMPLES, scene, screen.show)).complaint is not None:
                return


@contextlib.asynccontextmanager
async def _traffic(target: Target, scene: Scene, pace: Pace) -> AsyncIterator[None]:
    """Steady requests for as long as the context lasts."""
    stop = asyncio.Event()
    sender = asyncio.create_task(send_steadily(target, holdout_rows(), scene.tally, stop, pace))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(sender, pace.timeout + _LAST_ANSWERS_SECONDS)


@contextlib.contextmanager
def _step(console: Console, name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    console.print(f"{time.monotonic() - start:6.1f} s  {name}", markup=False)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("--cluster", default="haldane", help="name of the cluster (default: %(default)s)")
    parser.add_argument(
        "--models", type=Path, default=REPOSITORY / "build" / "models", help="where the models are kept"
    )
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second (default: %(default)s)")
    parser.add_argument(
        "--as-it-is", action="store_true", help="take the cluster as it is: start nothing, build no image"
    )
    given = parser.parse_args(arguments)
    # A log has no width of its own; a table must not be cut down to a terminal's 80.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    start = time.monotonic()
    try:
        if not given.as_it_is:
            ground.lay(given.cluster, REPOSITORY)
        cluster_file = cluster_addresses.file(given.cluster)
        happened = asyncio.run(demo(console, cluster_file, given.models, Pace(rate=given.rate)))
    except HarnessError as error:
        console.print(f"{error}", markup=False, soft_wrap=True, style="bold red")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. What was started is still on the cluster; `make cluster-down` removes it.")
        return 130
    console.print(f"{'All of it happened' if happened else 'Not as it must be'}, in {time.monotonic() - start:.0f} s.")
    return 0 if happened else 1


if __name__ == "__main__":
    sys.exit(main())
