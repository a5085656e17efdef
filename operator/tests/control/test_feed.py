"""The feed: events and lists reach the store, and a dead watch is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from haldane.control.errors import Retryable
from haldane.control.feed import RELIST_INTERVAL, RETRY_INTERVAL, Feed
from haldane.control.store import Key, Store

if TYPE_CHECKING:
    from .cluster import MemoryCluster

Body = dict[str, Any]
Run = Callable[[Any], Any]

FRAUD = Key("shop", "fraud")


def model(**more: Any) -> Body:
    return {"kind": "ModelDeployment", "metadata": {"namespace": "shop", "name": "fraud", "uid": "p1"}, **more}


def feed_of(cluster: MemoryCluster, *namespaces: str) -> tuple[Feed, Store, list[Key]]:
    store, enqueued = Store(), list[Key]()
    return Feed(cluster, store, enqueued.append, namespaces), store, enqueued


def test_events_reach_the_store_and_the_queue(cluster: MemoryCluster) -> None:
    feed, store, enqueued = feed_of(cluster)
    first, second = cluster.put(model()), cluster.put(model(status={"a": 1}))
    feed.take({"type": None, "object": first})
    feed.take({"type": "MODIFIED", "object": second})
    feed.take({"type": "MODIFIED", "object": first})
    assert enqueued == [FRAUD, FRAUD]
    found = store.parent(FRAUD)
    assert found
    assert found["status"] == {"a": 1}
    feed.take({"type": "DELETED", "object": cluster.put(model())})
    assert enqueued == [FRAUD] * 3
    assert store.parent(FRAUD) is None


async def test_lists_are_of_the_served_namespaces(cluster: MemoryCluster) -> None:
    cluster.put(model())
    feed, store, enqueued = feed_of(cluster, "other", "another")
    await feed.relist()
    assert store.parent(FRAUD) is None
    feed, store, enqueued = feed_of(cluster)
    await feed.relist()
    assert store.parent(FRAUD)
    assert enqueued == [FRAUD]


async def test_a_watch_that_misses_what_lists_bring_is_dead(cluster: MemoryCluster) -> None:
    feed, _, _ = feed_of(cluster)
    cluster.put(model())
    await feed.relist()
    assert feed.deaf == ()  # the first list is all news
    for changes, told, deaf in (
        (1, 0, ()),
        (1, 1, ()),
        (1, 0, ()),
        (0, 0, ()),
        (1, 0, ("ModelDeployment",)),
        (1, 1, ()),
    ):
        for _ in range(changes):
            live = cluster.put(model())
        for _ in range(told):
            feed.take({"type": "MODIFIED", "object": live})
            cluster.put(model())  # and one that is not told yet
        await feed.relist()
        assert feed.deaf == deaf


def test_it_lists_again_and_again_and_waits_for_the_server(cluster: MemoryCluster, run_exactly: Run) -> None:
    feed, _, _ = feed_of(cluster)
    times: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(feed.run())
        loop.call_at(RELIST_INTERVAL + 5, lambda: cluster.errors.update({"list Pod": Retryable("away")}))
        loop.call_at(2 * RELIST_INTERVAL + 2.5 * RETRY_INTERVAL, cluster.errors.clear)
        for _ in range(5):
            await asyncio.sleep(RELIST_INTERVAL / 2 + RETRY_INTERVAL)
            times.append(feed.listed_at or 0.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    run_exactly(main())
    assert times == [0.0, 180.0, 180.0, 390.0, 390.0]
