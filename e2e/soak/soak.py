"""Plays a whole soak: places with traffic, faults beside them, and at the end the laws."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from e2e.harness.addresses import Addresses
from e2e.harness.background import in_background
from e2e.harness.feed import Feeds
from e2e.harness.install import install
from e2e.harness.kube import Kube
from e2e.harness.models import train_if_needed, upload
from e2e.scenarios.errors import Unmet
from e2e.scenarios.manifest import NAME
from e2e.scenarios.place import Place, remove_leftovers
from e2e.soak.drawing import Fault, episodes, faults
from e2e.soak.episodes import Ask, Deed, Episode, Version
from e2e.soak.lives import Operator
from e2e.soak.outcome import AllAnswers, Outcome, Wishes
from e2e.soak.player import Player
from e2e.soak.record import KINDS, Record, Seen, Span

REPOSITORY: Final = Path(__file__).resolve().parents[2]
QUIET_SECONDS: Final = 200.0
"""Kept at the end: for the last episodes to come to rest, a last version to be served, and everything to be removed."""
LAST_START: Final = 45.0
"""An episode begins at the latest so many seconds before the faults end."""
LATE: Final = 30.0
CHILDREN: Final = "deployments,pods,services,ingresses,poddisruptionbudgets,horizontalpodautoscalers,controllerrevisions,serviceaccounts"
OURS: Final = "app.kubernetes.io/managed-by=haldane"
_SCRAPED: Final = 15.0
"""Seconds until a Prometheus that came back without its data knows a rate again."""
_TELL_EVERY: Final = 20.0
_GONE_SECONDS: Final = 90.0


class Soak:
    """`play` once. `console` gets a line for everything that happens."""

    def __init__(self, addresses: Addresses, folder: Path, wishes: Wishes, console: Console) -> None:
        self.outcome = Outcome(wishes)
        self._addresses, self._folder, self._wishes, self._console = addresses, folder, wishes, console
        self._start = asyncio.get_running_loop().time()

    def clock(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time() - self._start

    def say(self, who: str, text: str, style: str = "") -> None:
        """A line for the person who watches."""
        line = " ".join(text.split()) if not text.startswith("  ") else f"  {' '.join(text.split())}"
        self._console.print(f"[{self.clock():7.1f} s] {who:9} {line}", style=style, markup=False, soft_wrap=True)

    async def play(self) -> None:
        """From the installed chart to nothing left. Raises HarnessError when it could not go on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with Kube(self._addresses, "default") as kube, contextlib.AsyncExitStack() as stack:
            await self._prepare(kube)
            operator = Operator(self._addresses, kube, self.clock, self._folder / "operator.log")
            self.outcome.operator = operator
            await stack.enter_async_context(in_background(operator.watch()))
            await operator.until_ready()
            feeds = await Feeds.open(self._addresses)
            stack.push_async_callback(feeds.close)
            for number in range(1, self._wishes.places + 1):
                await self._open(number, feeds, stack)
            stack.push_async_callback(self._clear)
            players = self.outcome.players
            await together(*(player.begin() for player in players))
            try:
                async with contextlib.AsyncExitStack() as clients:
                    for player in players:
                        await clients.enter_async_context(player.place.traffic(self._wishes.rate))
                    await self._storm(kube, operator)
                    self.say("soak", "no more faults: everything must come to rest", "bold")
                    await operator.until_ready()
                    await together(*(self._finish(number, player) for number, player in enumerate(players, 1)))
            finally:
                # What broke off is judged as well.
                self._write_down()
                await operator.read_log()
            await self._remove()
            self.outcome.ended = True

    async def _prepare(self, kube: Kube) -> None:
        models, quiet = REPOSITORY / "build" / "models", Console(quiet=True)
        await remove_leftovers(kube, [_name(number) for number in range(1, self._wishes.places + 1)])
        await asyncio.to_thread(train_if_needed, models, REPOSITORY / "examples", quiet)
        await asyncio.to_thread(upload, models, self._addresses.s3_url)
        await install(self._addresses, REPOSITORY / "charts" / "haldane")
        self.say("soak", "models uploaded, chart installed")

    async def _open(self, number: int, feeds: Feeds, stack: contextlib.AsyncExitStack) -> None:
        name = _name(number)

        def say(text: str) -> None:
            if text.startswith(("apply ", "patch ")):
                return  # the player has said what it does in fewer words
            self.say(name, text, "bold" if text.startswith("episode") else "bold red" if "WRONG" in text else "")

        place = await stack.enter_async_context(Place.opened(self._addresses, feeds, name, self._folder, say))
        place.answers = AllAnswers()
        record = Record(name)
        for kind in KINDS:
            seen = _taking(record, kind, self.clock)
            await stack.enter_async_context(in_background(feeds.objects(kind, place.namespace, seen)))
        self.outcome.records.append(record)
        self.outcome.players.append(Player(place, record, self._folder))

    async def _storm(self, kube: Kube, operator: Operator) -> None:
        began = self.clock()
        self.outcome.storm = seconds = max(30.0, self._wishes.seconds - QUIET_SECONDS - began)
        until = began + seconds
        drawn = faults(self._wishes.seed, seconds, self._wishes.kills)
        self.say("soak", f"faults and edits for {seconds:.0f} s: {self._wishes.kills} kills of the operator", "bold")
        attacks = [
            self._attack([fault for fault in drawn if fault.kind == kind], began, until, strike)
            for kind, strike in {
                "kill": lambda _: self._kill(operator),
                "api": lambda fault: self._cut(operator, fault),
                "prometheus": lambda fault: self._blind(kube, fault),
            }.items()
        ]
        lives = [self._live(number, each, until) for number, each in enumerate(self.outcome.players, 1)]
        async with in_background(self._tell(operator)):
            await together(*attacks, *lives)

    async def _live(self, number: int, player: Player, until: float) -> None:
        for episode in episodes(self._wishes.seed, number):
            if self.clock() > until - LAST_START:
                return
            await player.play(episode)

    async def _attack(self, drawn: list[Fault], began: float, until: float, strike: Callable[[Fault], object]) -> None:
        for fault in drawn:
            await asyncio.sleep(began + fault.at - self.clock())
            if self.clock() > until + LATE:
                return
            result = strike(fault)
            if asyncio.iscoroutine(result):
                await result

    async def _kill(self, operator: Operator) -> None:
        await operator.kill()
        self.say("fault", f"kill -9 of the operator, the {len(operator.killed)}. time", "red")

    async def _cut(self, operator: Operator, fault: Fault) -> None:
        self.say("fault", f"the operator is cut off from the API server for {fault.seconds:.0f} s", "red")
        await operator.cut(fault.seconds)

    async def _blind(self, kube: Kube, fault: Fault) -> None:
        where, begin = ("deployment/prometheus", "-n", "monitoring"), self.clock()
        self.say("fault", f"Prometheus is taken away for {fault.seconds:.0f} s", "red")
        try:
            await kube.kubectl("scale", *where, "--replicas=0")
            await asyncio.sleep(fault.seconds)
        finally:
            await kube.kubectl("scale", *where, "--replicas=1")
        await kube.kubectl("rollout", "status", *where, "--timeout=90s", seconds=100)
        self.outcome.unmeasured.append(Span(begin, self.clock() + _SCRAPED))
        self.say("fault", f"Prometheus is back after {self.clock() - begin:.0f} s")

    async def _tell(self, operator: Operator) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            played = sum(len(player.played) for player in self.outcome.players)
            memory = operator.lives[-1].memory[-1:] if operator.lives else []
            weight = f", operator {memory[0][1]:.0f} MiB" if memory else ""
            text = (
                f"{len(operator.killed)} of {self._wishes.kills} kills, {played} episodes ended, "
                f"{self.outcome.requests:,} requests, {self.outcome.failed:,} failed{weight}"
            )
            self.say("soak", text, "cyan")

    async def _finish(self, number: int, player: Player) -> None:
        """A last good version is served, and nothing of those before is left."""
        last = Version(f"last-{number}", "good", "v2" if player.serving.example == "v1" else "v1")
        await player.play(Episode("the last version", (Deed(0, Ask(last)),)))
        stable = player.place.now.status.stable
        try:
            await player.place.until_seen("no leftovers", lambda: self._is_clean(player, stable), 40.0)
        except Unmet:
            children = await player.place.objects(CHILDREN, OURS)
            names = ", ".join(f"{each['kind']} {each['metadata']['name']}" for each in children)
            self.outcome.leftovers.append(f"{player.place.scenario}: at rest there are {names}")

    async def _is_clean(self, player: Player, stable: object) -> bool:
        revision = getattr(stable, "revision", "")
        children = await player.place.objects("deployments,poddisruptionbudgets,horizontalpodautoscalers", OURS)
        names = {each["metadata"]["name"] for each in children}
        pods = await player.place.objects("pods", OURS)
        owners = {each["metadata"]["labels"].get("haldane.dev/revision") for each in pods}
        return names == {f"{NAME}-{revision}"} and owners == {revision}

    def _write_down(self) -> None:
        """What was seen becomes the records, before anything is removed."""
        for player, record in zip(self.outcome.players, self.outcome.records, strict=True):
            for moment in player.place.moments:
                version = int(moment.deployment.metadata.resource_version)
                record.seen.append(Seen(version, moment.at - self._start, moment.deployment))
            record.closed = True
            record.deleted = [Span(one.begin - self._start, one.end - self._start) for one in record.deleted]
            if isinstance(player.place.answers, AllAnswers):
                record.failures = [replace(one, at=one.at - self._start) for one in player.place.answers.all_failures]

    async def _remove(self) -> None:
        """Delete the ModelDeployments: nothing of theirs may stay."""
        self.say("soak", "the models are deleted: nothing may be left", "bold")

        async def gone(place: Place) -> None:
            async def look() -> bool:
                return not await place.objects(CHILDREN, OURS)

            await place.kube.kubectl(
                "delete", "modeldeployments", "--all", "-n", place.namespace, "--timeout=30s", seconds=40
            )
            try:
                await place.until_seen("the end of all children", look, _GONE_SECONDS)
            except Unmet:
                left = [f"{each['kind']} {each['metadata']['name']}" for each in await place.objects(CHILDREN, OURS)]
                self.outcome.leftovers.append(f"{place.scenario}: after the deletion there are {', '.join(left)}")

        await asyncio.gather(*(gone(player.place) for player in self.outcome.players))

    async def _clear(self) -> None:
        """Whatever happened, nothing of it stays."""
        await asyncio.gather(*(player.place.remove() for player in self.outcome.players), return_exceptions=True)


def _name(number: int) -> str:
    return f"soak-{number}"


def _taking(record: Record, kind: str, clock: Callable[[], float]) -> Callable[[str, dict[str, object]], None]:
    def seen(event: str, body: dict[str, object]) -> None:
        record.take(clock(), kind, event, body)

    return seen


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """All of them. One that fails ends the others: they must not play on while everything is cleared away."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
