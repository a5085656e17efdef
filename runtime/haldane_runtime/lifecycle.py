"""A run as visible phases.

1. open the port: from here on the probes are answered
2. load the model in the background; ready once it is warm
3. serve until SIGTERM or SIGINT
4. drain: not ready, every answer closes its connection, keep serving for `drain_seconds`
5. stop accepting, finish what is in flight (at most the request timeout), end
"""

import asyncio
import contextlib
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
import uvloop

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.loading import LoadedModel, load
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.http import create_app
from haldane_runtime.scheduling.policy import Limits
from haldane_runtime.settings import Settings

log = logging.getLogger(__name__)

# Longer than the idle time of the usual proxies (Traefik 90 s, nginx 60 s): the side that sends
# requests must be the one that closes, or a request meets a connection that is just being closed.
KEEP_ALIVE_SECONDS = 120
BACKLOG = 2048
ENGINE_STOP_SECONDS = 1.0

Loaded = asyncio.Future[LoadedModel]


def run(settings: Settings, started: float) -> None:
    """Serve until a signal has been obeyed; `started` is the process's own start on `time.monotonic`.

    Raises:
        LoadError: when the port cannot be opened or the model not be loaded.
    """
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        raise LoadError(
            Reason.INVALID_CONFIGURATION, f"HALDANE_PORT {settings.port} cannot be opened: {error.strerror}."
        ) from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, listener, started))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; an empty host means every address of both IP versions.

    Raises:
        OSError: when the address is taken or not this machine's.
    """
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


async def _run(settings: Settings, listener: socket.socket, started: float) -> None:
    metrics = Metrics(settings.model_namespace, settings.revision)
    plane = DataPlane(metrics, limits_of(settings), settings.model_name)
    server = _server(settings, plane)
    stop = _stop_signal()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("listening on port %d, %.2f s after the start", listener.getsockname()[1], time.monotonic() - started)
    try:
        if await _first(_load_in_background(settings), stop, plane):
            log.info("ready %.2f s after the start", time.monotonic() - started)
            await stop.wait()
        plane.drain()
        log.info("draining")
        await asyncio.sleep(settings.drain_seconds)
    finally:
        server.should_exit = True
        await serving
        plane.close(ENGINE_STOP_SECONDS)
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the drain decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def limits_of(settings: Settings) -> Limits:
    """How much may wait, and how it is batched."""
    return Limits(
        requests=settings.queue,
        bytes=settings.queue_bytes,
        max_rows=settings.max_batch_size,
        max_delay=settings.max_batch_delay,
        queue_delay=settings.queue_delay,
    )


def _server(settings: Settings, plane: DataPlane) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(plane, settings.request_bytes, settings.request_timeout),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # Every request in flight has a deadline within this, so that none is cut off.
        timeout_graceful_shutdown=math.ceil(settings.request_timeout) + 1,
    )
    return _Server(config)


def _stop_signal() -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def interrupt() -> None:
        stop.set()
        # A second Ctrl-C ends the process at once.
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    return stop


def _load_in_background(settings: Settings) -> Loaded:
    """A thread of its own rather than an executor's, which would be waited for at the end."""
    loop = asyncio.get_running_loop()
    loaded: Loaded = loop.create_future()

    def work() -> None:
        # The loop is closed when a signal came first: nobody waits for the model then.
        with contextlib.suppress(RuntimeError):
            try:
                result = load(settings)
            except LoadError as error:
                loop.call_soon_threadsafe(loaded.set_exception, error)
            else:
                loop.call_soon_threadsafe(loaded.set_result, result)

    threading.Thread(target=work, name="load", daemon=True).start()
    return loaded


async def _first(loaded: Loaded, stop: asyncio.Event, plane: DataPlane) -> bool:
    """Wait for the model or a signal, whichever is first; True when the model serves.

    Raises:
        LoadError: when the load failed.
    """
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((loaded, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not loaded.done():
        return False
    result = loaded.result()
    plane.add(result.model, result.engine, result.profile)
    plane.serve()
    return True
