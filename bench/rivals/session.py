"""A whole run: the cluster made ready, the tries played group by group, and what they gave written down as it comes."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.rivals import cases as known
from bench.rivals import faults, models
from bench.rivals.app import OLD, Version
from bench.rivals.argo import ArgoRollouts
from bench.rivals.cases import Case
from bench.rivals.controller import Controller
from bench.rivals.flagger import Flagger
from bench.rivals.haldane_operator import Haldane
from bench.rivals.observed import Figures
from bench.rivals.place import Place, remove_leftovers
from bench.rivals.play import FIRST_SECONDS, Stage, Try
from bench.rivals.results import Results
from bench.rivals.schedule import Entry, groups
from e2e.harness.addresses import Addresses
from e2e.harness.errors import HarnessError
from e2e.harness.kube import Kube
from e2e.harness.models import upload

CONTROLLERS: Final[Mapping[str, Controller]] = {each.name: each for each in (Haldane(), Flagger(), ArgoRollouts())}
REST: Final = "rest"
"""The key of what is measured of a controller with nothing to do."""
_REST_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    cases: Mapping[str, Sequence[Case]]
    """The cases of each controller."""
    rest: bool
    rate: float
    at_once: int
    tries_of_others: int


class Session:
    """One run on one cluster; `results` and the file are up to date after every case."""

    def __init__(self, addresses: Addresses, node: str, plan: Plan, results: Results, file: Path) -> None:
        self._addresses, self._node, self._plan = addresses, node, plan
        self._results, self._file = results, file
        self._start = time.monotonic()
        self._played: dict[tuple[str, str], dict[int, Figures]] = {}

    def say(self, who: str, text: str) -> None:
        """A line for people, at once."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {who:22} {' '.join(text.split())}", flush=True)

    async def run(self) -> list[str]:
        """Play everything; what went wrong, as sentences."""
        wrong: list[str] = []
        with tempfile.TemporaryDirectory(prefix="haldane-rivals-") as folder:
            await remove_leftovers(self._addresses)
            await asyncio.to_thread(self._put_models, Path(folder) / "models")
            stage = Stage(self._addresses, Path(folder), self._plan.rate, self.say)
            for group in groups(self._plan.cases, self._plan.tries_of_others):
                if group[0].case.breaks == {known.CONTROLLER}:
                    await self._renew(group)
                # Those to whom one thing happens are there together.
                gate = asyncio.Semaphore(len(group) if group[0].case.breaks else self._plan.at_once)
                outage = faults.Outage(len(group), self.say)
                played = (
                    self._one(Try(stage, CONTROLLERS[e.controller], e.case, e.number, outage), e, gate) for e in group
                )
                wrong += [each for each in await asyncio.gather(*played) if each]
                await remove_leftovers(self._addresses)
            if self._plan.rest:
                wrong += await self._at_rest(stage)
        return wrong

    def _put_models(self, folder: Path) -> None:
        all_cases = [case for chosen in self._plan.cases.values() for case in chosen]
        models.write(folder, sorted({0.0, *known.errors(all_cases)}))
        broken = folder / "broken" / "model.onnx"
        broken.parent.mkdir(parents=True)
        broken.write_text("This was meant to be a model.\n")
        upload(folder, self._addresses.s3_url)

    async def _renew(self, group: Sequence[Entry]) -> None:
        async with Kube(self._addresses, "default") as kube:
            for name in {entry.controller for entry in group}:
                await faults.renew(kube, CONTROLLERS[name].home)

    async def _one(self, played: Try, entry: Entry, gate: asyncio.Semaphore) -> str | None:
        async with gate:
            try:
                figures = await played.played()
            except HarnessError as error:
                self.say(played.name, f"FAILED: {error}")
                return f"{played.name}: {error}"
        tries = self._played.setdefault((entry.controller, entry.case.key), {})
        tries[entry.number] = figures
        note = f"{datetime.now(UTC):%Y-%m-%d}, {self._plan.rate:g} requests/s, load {os.getloadavg()[0]:.1f}"
        self._results.set(entry.controller, entry.case.key, [tries[number] for number in sorted(tries)], note)
        self._results.write(self._file)
        if entry.controller == "haldane":
            held = "met" if entry.case.must.holds(figures) else f"MISSED ({figures})"
            self.say(played.name, f"must: {entry.case.must.text}: {held}")
        return None

    async def _at_rest(self, stage: Stage) -> list[str]:
        """Every controller with one model that serves and nobody who asks it."""

        async def one(name: str) -> str | None:
            controller = CONTROLLERS[name]
            case = Case(REST, "at rest", Version(OLD), known.CASES[0].must, ())
            try:
                async with Place.opened(self._addresses, f"rivals-{name}-{REST}", controller, stage.folder) as place:
                    await place.apply("app", list(controller.objects(place.namespace, case)))
                    if not await place.until("the first version", controller.serves, FIRST_SECONDS):
                        return f"{name}: the old version did not come to serve within {FIRST_SECONDS:.0f} s."
                    await asyncio.sleep(_QUIET_SECONDS)
                    rest = await faults.at_rest(place.kube, self._node, controller.home, _REST_SECONDS)
            except HarnessError as error:
                return f"{name} at rest: {error}"
            self.say(name, f"at rest: {rest.mib:.0f} MiB, {rest.millicores:.1f} mCPU")
            self._results.rest[name] = rest
            self._results.write(self._file)
            return None

        return [wrong for wrong in await asyncio.gather(*(one(name) for name in self._plan.cases)) if wrong]
