"""Two replicas behind a proxy are replaced one after the other under load, and no request notices."""

import asyncio
import itertools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

WAIT = 20.0
PROBE_SECONDS = 0.05
CLIENTS = 8
GRPC_CLIENTS = 4

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Routes requests by turns to the replicas that say they are ready, on connections that it keeps.

    It retries nothing and hides nothing: what breaks on the way to a replica is a 502 for the client. On its second
    port it does the same with whole connections, as a Service does for gRPC.
    """

    def __init__(self) -> None:
        self.replicas: dict[str, bool] = {}
        self.grpc_ports: dict[str, int] = {}
        self._kept: dict[str, list[Stream]] = {}
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        server = self.call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tunnel = self.call(asyncio.start_server(self._tunnel, "127.0.0.1", 0))
        self.grpc_address = f"127.0.0.1:{tunnel.sockets[0].getsockname()[1]}"
        self._probing = asyncio.run_coroutine_threadsafe(self._probe(), self._loop)

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)

    def close(self) -> None:
        self._probing.cancel()
        self.call(asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)

    async def _probe(self) -> None:
        while True:
            for url in list(self.replicas):
                # The fault of one probe must not be the last one's: a replica may be gone while it is asked.
                with suppress(OSError, EOFError):
                    answer = await self._ask(url, b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
                    self.replicas[url] = b" 200 " in answer[:16]
            await asyncio.sleep(PROBE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _message(reader)
                try:
                    answer = await self._ask(self._next(), request)
                except (OSError, EOFError, StopIteration) as error:
                    text = f"{type(error).__name__}: {error}".encode()
                    answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
                writer.write(re.sub(rb"(?i)\r\nconnection: close", b"", answer, count=1))
                await writer.drain()
        writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.grpc_ports[self._next()])
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        writer.close()

    def _next(self) -> str:
        ready = [url for url, is_ready in self.replicas.items() if is_ready]
        if not ready:
            raise OSError("no replica is ready")
        return ready[next(self._turn) % len(ready)]

    async def _ask(self, url: str, request: bytes) -> bytes:
        kept = self._kept.setdefault(url, [])
        target = urlsplit(url)
        reader, writer = kept.pop() if kept else await asyncio.open_connection(target.hostname, target.port)
        writer.write(request)
        answer = await _message(reader)
        if b"connection: close" in answer.split(b"\r\n\r\n")[0].lower():
            writer.close()
        else:
            kept.append((reader, writer))
        return answer


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_rolling_restart_under_load_fails_no_request(start: Callable[..., Any], models: Any, proxy: Proxy) -> None:
    uri = f"file://{models.double()}"

    def replica(started: Any = None) -> Any:
        server = (started or start(uri)).ready()
        (line,) = [line for line in server.log if "gRPC on port" in line]
        proxy.grpc_ports[server.url] = int(line.rsplit(" ", 1)[1])
        proxy.replicas[server.url] = False
        until(lambda: proxy.replicas[server.url])
        return server

    old = [replica(started) for started in (start(uri), start(uri))]
    stop = threading.Event()
    seen: list[tuple[int, str]] = []
    answered: list[Any] = []

    def served() -> None:
        asked, called = len(seen), len(answered)
        until(lambda: len(seen) > asked + 50 and len(answered) > called + 50)

    def send() -> None:
        with httpx.Client(base_url=proxy.url, timeout=WAIT) as client:
            while not stop.is_set():
                answer = client.post("/v1/predict", json={"instances": [[1, 2, 3]]})
                seen.append((answer.status_code, answer.text))
                time.sleep(0.002)

    def call() -> None:
        x = triton.InferInput("x", [1, 3], "FP32")
        x.set_data_from_numpy(np.ones((1, 3), np.float32))
        # A connection of its own: channels of one process share theirs otherwise.
        own = [("grpc.use_local_subchannel_pool", 1)]
        with triton.InferenceServerClient(proxy.grpc_address, channel_args=own) as client:
            while not stop.is_set():
                answered.append(client.infer("model", [x], client_timeout=WAIT).as_numpy("y").tolist())
                time.sleep(0.002)

    with ThreadPoolExecutor(CLIENTS + GRPC_CLIENTS) as pool:
        senders = [pool.submit(work) for work in [send] * CLIENTS + [call] * GRPC_CLIENTS]
        try:
            for server in old:
                replica()
                served()
                server.signal(signal.SIGTERM)
                assert server.ended() == 0
                del proxy.replicas[server.url]
            served()
        finally:
            stop.set()
        for sender in senders:
            sender.result()
    assert [answer for answer in seen if answer[0] != 200] == []
    # A call that failed has ended its client above.
    assert all(answer == [[2, 2, 2]] for answer in answered)
