"""Whether the operator works, for the kubelet: not that the process lives, but that its loop turns and its watches hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from haldane.control.feed import RELIST_INTERVAL, Feed
from haldane.control.queue import HEARTBEAT, Queue
from haldane.control.store import Key

LATE_BEAT = 3 * HEARTBEAT
LATE_LIST = 5 * RELIST_INTERVAL


def trouble(feed: Feed, queue: Queue[Key], now: float) -> str | None:
    """What is wrong at loop time `now`, as a sentence; None when nothing is."""
    if feed.listed_at is None or queue.beat is None:
        return "starting: the objects of the cluster are not listed yet"
    if now - queue.beat > LATE_BEAT:
        return f"the work queue has not turned for {now - queue.beat:.0f} s"
    if feed.deaf:
        return f"the watches of {', '.join(feed.deaf)} no longer tell of changes"
    if now - feed.listed_at > LATE_LIST:
        return f"the API server has not answered a list for {now - feed.listed_at:.0f} s"
    return None


async def serve(port: int, check: Callable[[], str | None]) -> tuple[web.AppRunner, int]:
    """Answer `GET /healthz`: 200 `ok`, or 503 with what is wrong. The runner, and the port it got.

    On every interface; with port 0, which means any free one, on 127.0.0.1.
    """

    async def healthz(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(status=503 if wrong else 200, text=f"{wrong or 'ok'}\n")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host=None if port else "127.0.0.1", port=port).start()
    return runner, runner.addresses[0][1]


def checking(feed: Feed, queue: Queue[Key]) -> Callable[[], str | None]:
    """`trouble` at the running loop's time."""
    return lambda: trouble(feed, queue, asyncio.get_running_loop().time())
