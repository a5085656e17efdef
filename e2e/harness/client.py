"""A client that sends real rows at a steady pace, however slowly the answers come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from e2e.harness.errors import HarnessError
from e2e.harness.prediction import Answer, read_answer, request_body
from e2e.harness.tally import Tally
from examples.dataset import Rows


@dataclass(frozen=True)
class Target:
    """A model behind an ingress: the URL to connect to, the host name to ask for, the model's name, and what else each request says."""

    url: str
    host: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """Requests a second, how many may be under way at once, and how many seconds one may take.

    The default waits longer than a runtime does (10 s), so that a late answer is the answer of who is late.
    """

    rate: float = 40.0
    in_flight: int = 200
    timeout: float = 15.0
    made_up_for: float = 0.0
    """Seconds for which this process may be held up and then send at once what was due: for who needs the rate, and no latencies."""


async def send_steadily(
    target: Target, rows: Rows, tally: Tally, stop: asyncio.Event, pace: Pace | None = None
) -> None:
    """Send rows, drawn at random with a fixed seed, until `stop` is set; then wait for what is under way.

    The pace is kept whether or not answers come (open loop), so that a slow server cannot hide behind a slowed-down client. A request beyond
    `in_flight` is not sent, and counts as failed. Where this process itself comes late, for want of a processor, the pace goes on from there: no burst
    makes up for more than `made_up_for` of it, and it adds to no latency.
    """
    pace = pace or Pace()
    bodies = [request_body(row) for row in rows.pixels]
    generator = np.random.default_rng(0)
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()
    async with _http(target, pace) as http:
        due = loop.time()
        while not stop.is_set():
            if len(under_way) >= pace.in_flight:
                tally.failed(None, f"not sent: {pace.in_flight} requests are under way", seconds=0.0, at=due)
            else:
                row = int(generator.integers(len(bodies)))
                task = asyncio.create_task(_ask(http, target, bodies[row], int(rows.labels[row]), tally))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due = max(due + 1 / pace.rate, loop.time() - pace.made_up_for)
            await asyncio.sleep(due - loop.time())
        await asyncio.gather(*under_way)


async def wait_until_answered(target: Target, rows: Rows, version: str, seconds: float) -> None:
    """Ask until `version` answers. Raises HarnessError with the last answer when it does not within `seconds`."""
    body, last = request_body(rows.pixels[0]), "nothing"
    try:
        async with asyncio.timeout(seconds), _http(target, Pace()) as http:
            while True:
                try:
                    answer = await _answer(http, target, body)
                    if answer.version == version and answer.failure is None:
                        return
                    last = answer.failure or f"an answer from version {answer.version}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    last = repr(error)
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise HarnessError(
            f"{target.url} (host {target.host}) did not answer from {version} within {seconds:.0f} s; last came {last}."
        ) from None


def _http(target: Target, pace: Pace) -> aiohttp.ClientSession:
    # It leaves the proxies of the environment alone: they have no way to the cluster's own addresses.
    return aiohttp.ClientSession(
        headers={"host": target.host, "content-type": "application/json", **target.headers},
        timeout=aiohttp.ClientTimeout(total=pace.timeout, sock_connect=5.0),
        connector=aiohttp.TCPConnector(limit=pace.in_flight),
    )


async def _answer(http: aiohttp.ClientSession, target: Target, body: bytes) -> Answer:
    async with http.post(f"{target.url}/v2/models/{target.model}/infer", data=body) as response:
        return read_answer(response.status, response.headers, await response.read())


async def _ask(http: aiohttp.ClientSession, target: Target, body: bytes, label: int, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    sent = loop.time()
    try:
        answer = await _answer(http, target, body)
    except (aiohttp.ClientError, TimeoutError) as error:
        now = loop.time()
        tally.failed(None, f"no answer: {error!r}", seconds=now - sent, at=now)
        return
    now = loop.time()
    if answer.failure is not None or answer.version is None:
        why = answer.failure or "an answer without a version"
        tally.failed(answer.version, why, seconds=now - sent, at=now)
    else:
        tally.answered(answer.version, right=answer.label == label, seconds=now - sent, at=now)
