"""Plays the scenarios side by side on one event loop, while pytest asks for their results one after another.

The loop runs whenever a test waits for its scenario, which is nearly always: everything is on one thread, and Ctrl-C and time limits work as usual.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console

from e2e.harness.addresses import Addresses
from e2e.harness.addresses import read as read_addresses
from e2e.harness.errors import HarnessError
from e2e.harness.feed import Feeds
from e2e.harness.install import install
from e2e.harness.kube import Kube
from e2e.harness.models import train_if_needed, upload
from e2e.scenarios.diagnosis import diagnosis
from e2e.scenarios.place import PATIENCE, Place, described, remove_leftovers
from e2e.scenarios.timetable import Entry, startable

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CHART: Final = REPOSITORY / "charts" / "haldane"

Play = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended: after how many seconds, with which error, and what the cluster showed then."""

    seconds: float
    client: str
    error: BaseException | None = None
    looks: str = ""


class Stage:
    """A prepared cluster and the scenarios of a run.

    `plays` maps each scenario to the coroutine function that plays it in a Place. With `keep`, namespaces are left as they are.
    """

    def __init__(
        self,
        cluster_file: Path,
        folder: Path,
        plays: dict[Entry, Play],
        *,
        at_once: int,
        keep: bool,
        terminal: TextIO,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._cluster_file = cluster_file
        self._folder = folder
        self._plays = plays
        self._at_once = at_once
        self._keep = keep
        self._terminal = terminal
        self._start = time.monotonic()
        self._runner = asyncio.Runner()
        self._addresses: Addresses | None = None
        self._ended: dict[str, asyncio.Event] = {}
        self._director: asyncio.Task[None] | None = None
        self._clean_ups: list[asyncio.Task[None]] = []

    def say(self, who: str, text: str) -> None:
        """A line for people, at once, whatever pytest does with the output of tests."""
        line = " ".join(text.split())
        print(f"[{time.monotonic() - self._start:6.1f} s] {who:24} {line}", file=self._terminal, flush=True)

    def prepare(self) -> None:
        """Have the models in the store, the chart installed and nothing left of an earlier run; then begin to play."""
        self._runner.run(self._prepare())

    def result(self, name: str) -> None:
        """Wait until a scenario has ended; its error is raised."""
        self._runner.run(self._wait_for(name))
        error = self.outcomes[name].error
        if error is not None:
            raise error

    def close(self) -> None:
        """Stop what still runs and clear away what was made."""
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()

    async def _prepare(self) -> None:
        addresses = self._addresses = read_addresses(self._cluster_file)
        models = REPOSITORY / "build" / "models"
        quiet = Console(quiet=True)
        await self._step("leftovers", self._remove_leftovers(addresses))
        await self._step("models", asyncio.to_thread(train_if_needed, models, REPOSITORY / "examples", quiet))
        await self._step("upload", asyncio.to_thread(_upload, models, self._folder / "models", addresses.s3_url))
        await self._step("chart", install(addresses, CHART))
        self._ended = {entry.name: asyncio.Event() for entry in self._plays}
        self._director = asyncio.create_task(self._direct(addresses))

    async def _step(self, name: str, work: Awaitable[Any]) -> None:
        start = time.monotonic()
        await work
        self.say("preparation", f"{name}: {time.monotonic() - start:.1f} s")

    async def _direct(self, addresses: Addresses) -> None:
        waiting = list(self._plays)
        under_way: dict[asyncio.Task[None], Entry] = {}
        feeds = await Feeds.open(addresses)
        try:
            while waiting or under_way:
                for entry in startable(waiting, list(under_way.values()), self._at_once):
                    waiting.remove(entry)
                    under_way[asyncio.create_task(self._play(entry, addresses, feeds))] = entry
                ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    self._ended[under_way.pop(task).name].set()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await feeds.close()

    async def _play(self, entry: Entry, addresses: Addresses, feeds: Feeds) -> None:
        start = time.monotonic()
        place: Place | None = None
        error: BaseException | None = None
        looks = ""
        self.say(entry.name, "starts")
        try:
            say = partial(self.say, entry.name)
            async with Place.opened(addresses, feeds, entry.name, self._folder, say) as place:
                try:
                    await self._bounded(entry, place)
                except asyncio.CancelledError:
                    raise
                except BaseException:
                    looks = await diagnosis(place, time.monotonic() - start)
                    raise
        except asyncio.CancelledError:
            raise
        except BaseException as caught:
            error = caught
        finally:
            if place is not None and not self._keep:
                self._clean_ups.append(asyncio.create_task(place.remove()))
        seconds = time.monotonic() - start
        client = str(place.answers) if place else "no client"
        self.outcomes[entry.name] = Outcome(seconds, client, error, looks)
        if error is None:
            self.say(entry.name, f"PASSED in {seconds:.1f} s; {client}")
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            said = (str(error) or type(error).__name__).splitlines()[0]
            self.say(entry.name, f"FAILED after {seconds:.1f} s at {where}: {said}; {client}")

    async def _bounded(self, entry: Entry, place: Place) -> None:
        limit = PATIENCE * entry.plan.seconds
        try:
            async with asyncio.timeout(limit) as timer:
                await self._plays[entry](place, **entry.row)
        except TimeoutError as error:
            if not timer.expired():
                raise
            seen = described(place.now) if place.moments else "no object at all"
            raise HarnessError(f"The scenario did not end within {limit:.0f} s; last seen: {seen}") from error

    async def _wait_for(self, name: str) -> None:
        if self._director is None:
            raise HarnessError("The stage is not prepared.")
        ended = asyncio.create_task(self._ended[name].wait())
        await asyncio.wait({ended, self._director}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            self._director.result()

    async def _close(self) -> None:
        if self._director is not None:
            self._director.cancel()
            await asyncio.gather(self._director, return_exceptions=True)
        if self._keep:
            self.say("clean-up", "the namespaces stay, as --keep asks; the next run removes them")
        elif self._addresses is not None:
            await self._step("clean-up", self._clean_up(self._addresses))

    async def _clean_up(self, addresses: Addresses) -> None:
        await asyncio.gather(*self._clean_ups, return_exceptions=True)
        await self._remove_leftovers(addresses)

    async def _remove_leftovers(self, addresses: Addresses) -> None:
        async with Kube(addresses, "default") as kube:
            await remove_leftovers(kube, [entry.name for entry in self._plays])


def _upload(models: Path, folder: Path, s3_url: str) -> None:
    """The examples' models, and one that is none."""
    upload(models, s3_url)
    broken = folder / "broken" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_text("This was meant to be a model.\n")
    upload(folder, s3_url)
