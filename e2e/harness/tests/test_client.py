import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from e2e.harness.client import Pace, Target, send_steadily, wait_until_answered
from e2e.harness.errors import HarnessError
from e2e.harness.tally import NOBODY, Tally
from examples.dataset import Rows, holdout_rows

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[Target]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server on a free port that answers as the handler says."""
    runners = []

    async def start(handler: Handler) -> Target:
        application = web.Application()
        application.router.add_post("/v2/models/digits/infer", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return Target(f"http://{host}:{port}", "digits.example.com", "digits")

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(scope="module")
def rows() -> Rows:
    return holdout_rows()


def predicted(label: int, version: str) -> web.Response:
    outputs = [{"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}]
    return web.json_response({"outputs": outputs}, headers={"x-haldane-version": version})


async def run_until(requests: int, target: Target, rows: Rows, pace: Pace) -> Tally:
    """Sends until so many requests have ended."""
    tally, stop = Tally(), asyncio.Event()
    sender = asyncio.create_task(send_steadily(target, rows, tally, stop, pace))
    async with asyncio.timeout(20):
        while tally.requests < requests:  # noqa: ASYNC110 - a tally is plain counters
            await asyncio.sleep(0.01)
        stop.set()
        await sender
    return tally


async def test_answers_and_failures_are_counted_by_version(serve: Serve, rows: Rows) -> None:
    asked = 0
    labels = {tuple(row.astype(int)): int(label) for row, label in zip(rows.pixels, rows.labels, strict=True)}

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        assert request.host == "digits.example.com"
        body = json.loads(await request.read())
        right = labels[tuple(body["inputs"][0]["data"])]
        if asked % 10 == 0:
            return web.json_response({"error": "it broke"}, status=500, headers={"x-haldane-version": "v4-broken"})
        if asked % 10 == 5:
            return web.Response(status=502, text="Bad Gateway")
        return predicted(right if asked % 2 else 11, "v1")

    tally = await run_until(100, await serve(answer), rows, Pace(rate=500))
    assert tally.requests == asked
    assert tally.versions["v4-broken"].failed == tally.versions["v4-broken"].requests >= 10
    assert tally.versions[NOBODY].failed >= 10
    assert tally.versions["v1"].failed == 0
    assert tally.versions["v1"].accuracy == pytest.approx(0.5, abs=0.05)
    assert tally.lost({"v4-broken"}) == tally.versions[NOBODY].failed


async def test_a_slow_server_does_not_slow_the_client(serve: Serve, rows: Rows) -> None:
    release, arrived = asyncio.Event(), 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        if arrived == 20:
            release.set()
        await release.wait()
        return predicted(0, "v1")

    # A client that waits for an answer before it asks again would never bring the 20 requests that the server waits for.
    tally = await run_until(20, await serve(answer), rows, Pace(rate=200))
    assert tally.versions["v1"].failed == 0
    assert max(tally.versions["v1"].latencies) >= 15 / 200


async def test_what_is_under_way_is_bounded(serve: Serve, rows: Rows) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    tally = await run_until(10, await serve(never), rows, Pace(rate=500, in_flight=4, timeout=0.3))
    assert any("not sent: 4 requests" in why for why in tally.versions[NOBODY].failures)
    assert set(tally.versions) == {NOBODY}


async def test_a_broken_connection_is_nobodys_answer(serve: Serve, rows: Rows) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    tally = await run_until(3, await serve(hang_up), rows, Pace(rate=200))
    assert set(tally.versions) == {NOBODY}
    assert "no answer" in tally.versions[NOBODY].failures[0]


async def test_waiting_for_a_version_ends_when_it_answers(serve: Serve, rows: Rows) -> None:
    asked = 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return predicted(0, "v1") if asked > 1 else web.Response(status=404)

    await wait_until_answered(await serve(answer), rows, "v1", seconds=10)
    assert asked == 2


async def test_waiting_in_vain_tells_the_last_answer(serve: Serve, rows: Rows) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="page not found")

    with pytest.raises(HarnessError, match="404: page not found"):
        await wait_until_answered(await serve(answer), rows, "v1", seconds=0.3)


async def test_what_was_due_while_the_process_was_held_up_is_sent_at_once_when_asked_for(
    serve: Serve, rows: Rows
) -> None:
    loop, at = asyncio.get_running_loop(), list[float]()

    async def answer(_: web.Request) -> web.StreamResponse:
        at.append(loop.time())
        if len(at) == 1:
            time.sleep(1.0)  # noqa: ASYNC251 - nobody gets a turn meanwhile
        return predicted(0, "v1")

    await run_until(15, await serve(answer), rows, Pace(rate=20, made_up_for=0.6))
    gaps = [after - before for before, after in itertools.pairwise(at[1:])]
    assert sum(gaps[:10]) < 10 / 20 / 2, "12 were due in the last 0.6 s"
