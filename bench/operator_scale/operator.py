"""The operator's own control loop, in a process of its own, with a cluster in memory: what is measured is all but the API server.

Commands come line by line on stdin, answers go line by line to stdout, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from bench.operator_scale.fleet import IMAGE, MemoryCluster, under_way
from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.batching import Batcher
from haldane.control.looks import Looks
from haldane.control.ports import Answer, Event, Manifest
from haldane.control.queue import Queue
from haldane.control.reconcile import Reconciler
from haldane.control.store import Key, Store, concerned
from haldane.effects.clock import SystemClock
from haldane.effects.prometheus import Prometheus
from haldane.plan import queries

WORKERS = 8
"""What the operator's settings have."""


class Silent:
    """Records no Events: they are not what is measured."""

    async def record(self, regarding: Manifest, event: Event) -> None:
        """See `control.ports.Recorder`."""


class Loop:
    """The parts, connected as in `shell.configure`."""

    def __init__(self, url: str, count: int, ago: float) -> None:
        chance = random.Random(1)
        self.cluster, self.store = MemoryCluster(), Store()
        self.revisions = [
            under_way(self.cluster, number, timedelta(seconds=chance.uniform(0.0, ago))) for number in range(count)
        ]
        for obj in self.cluster.objects.values():
            self.store.put(obj)
        self.prometheus = Prometheus(url)
        self.looks = Looks(Batcher(self.prometheus), lambda key, urgent: self.queue.add(key, urgent=urgent))
        self.reconciler = Reconciler(
            cluster=self.cluster,
            looks=self.looks,
            recorder=Silent(),
            clock=SystemClock(),
            store=self.store,
            images={"cpu": IMAGE, "gpu": IMAGE},
        )
        self.queue: Queue[Key] = Queue(self.reconciler, workers=WORKERS, patience=self.reconciler.patience)

    def begin(self) -> None:
        """As after a start: every object is new."""
        for obj in self.cluster.objects.values():
            if obj["kind"] == "ModelDeployment" and (key := concerned(obj)):
                self.queue.add(key)

    def abort(self, name: str) -> None:
        """What a user's annotation does: the watch tells of it."""
        live = self.cluster.objects["ModelDeployment", name]
        metadata = {**live["metadata"], "annotations": {"haldane.dev/abort": "now"}}
        key = self.store.put(self.cluster.put({**live, "metadata": metadata}))
        if key:
            self.queue.add(key, urgent=self.reconciler.is_exposed(key))

    async def differences(self, count: int) -> int:
        """How many of so many objects' queries get another answer in a batch than alone, about one instant."""
        at = datetime.now(UTC) - timedelta(seconds=10)
        asked = []
        for number, revisions in enumerate(self.revisions[:count]):
            md = ModelDeployment.from_wire(self.cluster.objects["ModelDeployment", f"model-{number:04d}"])
            asked += [queries.requests(md, revisions, 60), queries.durations(md, revisions, 45 + number % 20)]
        batcher = Batcher(self.prometheus)
        together = await asyncio.gather(*(batcher.query(query, at) for query in asked))
        alone = [await self.prometheus.query(query, at) for query in asked]
        return sum(_sorted(one) != _sorted(other) for one, other in zip(together, alone, strict=True))

    def report(self) -> Mapping[str, object]:
        """Everything that was noted."""
        looks = [(name, at.timestamp(), written) for name, at, written in self.cluster.looks]
        return {"looks": looks, "decided": self.cluster.decided, "emptied": self.cluster.emptied}


def _sorted(answer: Answer) -> object:
    return sorted(map(repr, answer)) if isinstance(answer, tuple) else answer


async def run(loop: Loop) -> None:
    """Work until stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    working: asyncio.Task[None] | None = None

    def say(what: object) -> None:
        print(json.dumps(what), flush=True)

    say("ready")
    while line := (await reader.readline()).decode().split():
        match line:
            case ["begin"]:
                working = asyncio.create_task(loop.queue.run())
                loop.begin()
                say("begun")
            case ["abort", name]:
                loop.abort(name)
                say("aborted")
            case ["looked"]:
                say(len({name for name, _, _ in loop.cluster.looks}))
            case ["emptied"]:
                say(len(loop.cluster.emptied))
            case ["differences", count]:
                say(await loop.differences(int(count)))
            case ["report"]:
                say(loop.report())
    if working:
        working.cancel()
    loop.prometheus.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--ago", type=float, required=True, help="weights were set up to so many seconds ago")
    options = parser.parse_args()
    asyncio.run(run(Loop(options.prometheus, options.count, options.ago)))


if __name__ == "__main__":
    main()
