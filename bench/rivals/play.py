"""Plays one try of one case with one controller."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rivals import faults, models
from bench.rivals.app import NAME, NEW, WEIGHTS, Manifest, host
from bench.rivals.cases import Case
from bench.rivals.controller import Controller
from bench.rivals.faults import Outage
from bench.rivals.observed import Figures, Requests, Sight, State, figures
from bench.rivals.place import Place
from e2e.harness.addresses import Addresses
from e2e.harness.client import Pace, Target, send_steadily, wait_until_answered
from e2e.harness.errors import HarnessError

FIRST_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 12.0
"""How long the old version serves under load before the new one is applied: every controller's first window has data of it."""
AFTER_SECONDS: Final = 3.0
"""The client goes on for so long after the end: what a route still sends to the candidate is counted."""
_LAST_ANSWERS: Final = 20.0
_MIDDLE: Final = WEIGHTS[1]


@dataclass(frozen=True)
class Stage:
    """What all tries of a run share. `say` takes who and what."""

    addresses: Addresses
    folder: Path
    rate: float
    say: Callable[[str, str], None]


class Try:
    """One try; `played` gives its figures. Raises HarnessError when not even the old version comes to serve."""

    def __init__(self, stage: Stage, controller: Controller, case: Case, number: int, outage: Outage) -> None:
        self._stage, self._controller, self._case, self._number = stage, controller, case, number
        self.name = f"rivals-{controller.name}-{case.key}-{number}"
        self._outage = outage
        self._requests = Requests()
        self._sight = Sight(applied=math.inf)
        self._before: Manifest = {}
        self._told = ""

    async def played(self) -> Figures:
        """Play it to its end, or to the case's limit."""
        stage, case = self._stage, self._case
        async with Place.opened(stage.addresses, self.name, self._controller, stage.folder) as place:
            await place.apply("app", list(self._controller.objects(place.namespace, case)))
            if not await place.until("the first version", self._controller.serves, FIRST_SECONDS):
                raise HarnessError(f"{self.name}: the old version did not come to serve within {FIRST_SECONDS:.0f} s.")
            target = Target(stage.addresses.ingress_url, host(place.namespace), NAME)
            await wait_until_answered(target, models.rows(0), case.old.name, 30)
            client = contextlib.nullcontext() if case.course == "idle" else self._sending(target)
            async with client:
                await asyncio.sleep(0 if case.course == "idle" else SETTLE_SECONDS)
                await self._roll_out(place)
                await asyncio.sleep(AFTER_SECONDS)
            self._sight.requests = self._requests.all
            self._sight.pods = {uid: at for uid, at in place.pods.items() if at >= self._sight.applied}
        return figures(self._sight, NEW)

    @contextlib.asynccontextmanager
    async def _sending(self, target: Target) -> AsyncIterator[None]:
        stop = asyncio.Event()
        rate = self._stage.rate
        pace = Pace(rate=rate, in_flight=math.ceil(rate * Pace.timeout) + 1)
        rows = models.rows(self._number)
        sender = asyncio.create_task(send_steadily(target, rows, self._requests, stop, pace))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(sender, pace.timeout + _LAST_ANSWERS)

    async def _roll_out(self, place: Place) -> None:
        case, sight = self._case, self._sight
        assert place.body is not None
        self._before = place.body
        kind = self._controller.changed
        sight.applied = await place.change(kind, self._controller.change(place.namespace, case, case.new))
        self._stage.say(self.name, "new version applied")
        disturbing = asyncio.create_task(self._disturb(place))
        try:
            ended = await place.until("the end", self._is_over, case.limit)
            sight.ended = place.now if ended else None
        finally:
            if case.course == "outage":
                # Prometheus must come back, whatever became of the rollout.
                await disturbing
            disturbing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await disturbing
        state = self._state(place.body)
        sight.reason = state.reason
        sight.outcome = state.outcome or ("held" if state.weight else "undecided")
        self._stage.say(
            self.name, f"{sight.outcome} after {(sight.ended or place.now) - sight.applied:.1f} s: {sight.reason}"
        )

    def _state(self, body: Manifest) -> State:
        return self._controller.state(body, self._before)

    def _is_over(self, body: Manifest) -> bool:
        state = self._state(body)
        line = f"weight {state.weight} %"
        if line != self._told:
            self._told = line
            self._stage.say(self.name, f"{line}: {state.reason}")
        is_due = self._case.course != "set back" or self._sight.changed_back is not None
        return not state.under_way and is_due

    async def _disturb(self, place: Place) -> None:
        """What the case does to the rollout or to the cluster while it runs."""
        case, stage, home = self._case, self._stage, self._controller.home
        match case.course:
            case "kill early":
                await self._requests.answered_by(NEW)
                await faults.kill(place.kube, home)
                stage.say(self.name, "controller killed")
            case "kill":
                await place.until("the middle", lambda body: self._state(body).weight >= _MIDDLE, case.limit)
                await faults.kill(place.kube, home)
                stage.say(self.name, "controller killed")
            case "outage":
                await place.until("the first weight", lambda body: self._state(body).weight > 0, case.limit)
                await asyncio.sleep(5)
                await self._outage.happen(place.kube)
            case "set back":
                await place.until("the middle", lambda body: self._state(body).weight >= _MIDDLE, case.limit)
                await asyncio.sleep(5)
                change = self._controller.change(place.namespace, case, case.old)
                self._sight.changed_back = await place.change(self._controller.changed, change)
                stage.say(self.name, "old version applied again")
            case _:
                return
