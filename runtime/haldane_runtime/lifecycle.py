"""A run as visible phases.

1. open the ports: from here on the probes are answered
2. load the models in the background; ready once they are warm
3. serve until SIGTERM or SIGINT
4. drain: not ready, every answer closes its connection, keep serving for `drain_seconds`
5. stop accepting, finish what is in flight (at most the request timeout), end

A second signal ends the process at once, whatever the phase.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
import uvloop

from haldane_runtime.announcement import to_try
from haldane_runtime.cache.responses import Outcome, ResponseCache, connect
from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.watch import Watch
from haldane_runtime.extension import answers_everything, extension_of
from haldane_runtime.loading import load
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.observe.requestlog import RequestLog
from haldane_runtime.observe.tracing import from_environment as tracing_from_environment
from haldane_runtime.protocol.fast.connection import HotConnection
from haldane_runtime.protocol.fast.head import Head
from haldane_runtime.protocol.fast.route import HotRoute
from haldane_runtime.protocol.http import create_app
from haldane_runtime.protocol.repository import repository_routes
from haldane_runtime.repository.failures import together
from haldane_runtime.repository.offers import offers_of
from haldane_runtime.repository.repository import ModelRepository
from haldane_runtime.scheduling.policy import AUTO_QUEUE_RUNS, Limits
from haldane_runtime.settings import AUTO, FREE_PORT, Settings

if TYPE_CHECKING:
    from haldane_runtime.fronts.server import Fronts
    from haldane_runtime.protocol.grpc.server import GrpcServer

log = logging.getLogger(__name__)

# Longer than the idle time of the usual proxies (Traefik 90 s, nginx 60 s): the side that sends
# requests must be the one that closes, or a request meets a connection that is just being closed.
KEEP_ALIVE_SECONDS = 120
BACKLOG = 2048
# New containers until the first look for garbage. Python's own 700 is less than a full queue's requests hold, which
# are no garbage.
_COLLECT_AFTER = 10_000
ENGINE_STOP_SECONDS = 1.0


def run(settings: Settings, started: float) -> None:
    """Serve until a signal has been obeyed; `started` is the process's own start on `time.monotonic`.

    Raises:
        LoadError: when a port cannot be opened, or there is nothing that could be served.
    """
    listener = _opened("HALDANE_PORT", settings.host, settings.port)
    grpc_listener = None
    if settings.grpc_port:
        port = 0 if settings.grpc_port == FREE_PORT else settings.grpc_port
        grpc_listener = _opened("HALDANE_GRPC_PORT", settings.host, port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, listener, grpc_listener, started))


def _opened(setting: str, host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        # Those of the look-up of a name are below 0.
        if (number := error.errno or 0) < 0 or number == errno.EADDRNOTAVAIL:
            message = f"HALDANE_HOST {host} is not an address of this machine: {error.strerror}."
        else:
            message = f"{setting} {port} cannot be opened: {error.strerror}."
        raise LoadError(Reason.INVALID_CONFIGURATION, message) from error


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; an empty host means every address of both IP versions.

    Raises:
        OSError: when the address is taken or not this machine's.
    """
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


async def _run(
    settings: Settings, listener: socket.socket, grpc_listener: socket.socket | None, started: float
) -> None:
    metrics = Metrics(settings.model_namespace, settings.revision)
    only = settings.model_name if settings.model_repository is None else None
    cache = _response_cache(settings, metrics)
    watch = _watch(settings)
    plane = DataPlane(metrics, limits_of(settings), only, cache, watch)
    explicit = settings.model_control == "explicit"
    repository = ModelRepository(plane, offers_of(settings), load, explicit, settings.request_timeout)
    server = _server(settings, plane, repository)
    grpc = await _grpc(settings, grpc_listener, plane, repository) if grpc_listener else None
    # What has been made so far stays to the end: never looked through again, a collection takes no time to notice.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    gc.enable()
    fronts = _fronts(settings, plane, server)
    stop = _stop_signal()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    port = listener.getsockname()[1]
    log.info("listening on port %d, %.2f s after the start", port, time.monotonic() - started)
    try:
        if await _before(stop, _load(settings, repository, plane)):
            plane.serve()
            log.info("ready %.2f s after the start", time.monotonic() - started)
            grpc_port = grpc_listener.getsockname()[1] if grpc_listener else None
            for line in to_try(plane, settings.host, port, grpc_port):
                log.info("%s", line)
            await stop.wait()
        plane.drain()
        if grpc:
            grpc.drain()
        log.info("draining")
        await asyncio.sleep(settings.drain_seconds)
    finally:
        if fronts is not None:
            # First, since they may give connections back, which the server then answers for.
            await fronts.stop(stop_seconds(settings))
        server.should_exit = True
        ending = [grpc.stop(stop_seconds(settings))] if grpc else []
        await asyncio.gather(serving, *ending)
        plane.close(ENGINE_STOP_SECONDS)
        if cache is not None:
            await cache.close()
        if watch is not None:
            await asyncio.to_thread(watch.close)
    log.info("stopped")


async def _load(settings: Settings, repository: ModelRepository, plane: DataPlane) -> None:
    """Load what there is. Of several models one that fails is left out, unless that leaves nothing to serve for ever.

    Raises:
        LoadError: why there is nothing to serve.
    """
    await repository.load_all()
    if plane.instances or (settings.model_repository and settings.model_control == "explicit"):
        return
    if failures := repository.failures:
        raise together(failures) if settings.model_repository else next(iter(failures.values()))
    raise LoadError(
        Reason.MODEL_NOT_FOUND,
        f"The model repository {settings.model_repository} holds no model; a model is <model>/<version>/model.onnx in it.",
    )


async def _before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` unless a signal comes first; True when it is done.

    Raises:
        LoadError: what `work` raises.
    """
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    if done:
        working.result()
    working.cancel()
    stopping.cancel()
    return done


class _GeneralRoute(HotRoute):
    """Leaves every request to the application."""

    def find(self, head: Head) -> None:
        return None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the drain decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _response_cache(settings: Settings, metrics: Metrics) -> ResponseCache | None:
    if settings.response_cache is None:
        return None
    # From the start at 0, so that rate() sees the first of each.
    metrics.lookups = dict.fromkeys(Outcome, 0)
    return connect(settings.response_cache, settings.response_cache_ttl, metrics.response_cache)


def _fronts(settings: Settings, plane: DataPlane, server: uvicorn.Server) -> "Fronts | None":
    if not settings.fronts:
        return None
    from haldane_runtime.fronts.server import Fronts

    arguments = (settings.request_bytes, settings.request_timeout, float(KEEP_ALIVE_SECONDS))
    return Fronts(settings.fronts, plane, server, arguments)


def _watch(settings: Settings) -> Watch | None:
    tracing = tracing_from_environment(os.environ, settings.model_namespace, settings.revision)
    requests = None
    if settings.request_log:
        requests = RequestLog(settings.request_log, settings.model_namespace, settings.revision)
    return Watch(requests, tracing) if requests or tracing else None


def limits_of(settings: Settings) -> Limits:
    """How much may wait, and how it is batched."""
    return Limits(
        requests=settings.queue,
        bytes=settings.queue_bytes,
        max_rows=settings.max_batch_size,
        max_delay=settings.max_batch_delay,
        queue_delay=0.0 if settings.queue_delay == AUTO else settings.queue_delay,
        queue_runs=AUTO_QUEUE_RUNS if settings.queue_delay == AUTO else 0,
    )


def _server(settings: Settings, plane: DataPlane, repository: ModelRepository) -> uvicorn.Server:
    """Raises: LoadError: InvalidConfiguration, for an extension that cannot be had."""
    extend = extension_of(settings.extension) if settings.extension else None
    routers = [repository_routes(repository)]
    app = create_app(plane, settings.request_bytes, settings.request_timeout, routers, extend)
    guarded = answers_everything(app)
    if guarded and settings.fronts:
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            f"HALDANE_EXTENSION {settings.extension} adds middleware, which HALDANE_FRONTS would pass by; unset one of them.",
        )
    route = (_GeneralRoute if guarded else HotRoute)(plane, settings.request_bytes, settings.request_timeout)
    config = uvicorn.Config(
        app,
        # uvicorn only calls it, with keywords.
        http=cast(Any, partial(HotConnection, route)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_seconds(settings),
    )
    return _Server(config)


def stop_seconds(settings: Settings) -> int:
    """How long what is in flight may take: every request has a deadline within this, so that none is cut off."""
    return math.ceil(settings.request_timeout) + 1


async def _grpc(
    settings: Settings, listener: socket.socket, plane: DataPlane, repository: ModelRepository
) -> "GrpcServer":
    # Imported here, so that who turns gRPC off does not wait for it.
    from haldane_runtime.protocol.grpc import limits
    from haldane_runtime.protocol.grpc.server import GrpcServer

    bounds = limits.Limits(message=settings.request_bytes, assembling=settings.queue_bytes + settings.request_bytes)
    server = GrpcServer(plane, repository, bounds, settings.request_timeout)
    await server.start(listener, BACKLOG)
    log.info("gRPC on port %d", listener.getsockname()[1])
    return server


def _stop_signal() -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def handle(number: int) -> None:
        if stop.is_set():
            # As a shell tells it of a process that a signal has ended.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    return stop
