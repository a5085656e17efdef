"""The composition root: makes the parts, connects them, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import Any, cast

import kopf

from haldane.control.batching import Batcher
from haldane.control.feed import Feed
from haldane.control.gates import Gatekeeper
from haldane.control.looks import Looks
from haldane.control.ports import KINDS, MODEL_DEPLOYMENTS
from haldane.control.queue import Queue
from haldane.control.reconcile import Reconciler
from haldane.control.rehearsals import Rehearsals
from haldane.control.store import Key, Store
from haldane.effects.access import Access
from haldane.effects.clock import SystemClock
from haldane.effects.events import EventRecorder
from haldane.effects.kube import KubeCluster
from haldane.effects.login import Login
from haldane.effects.prometheus import Prometheus
from haldane.effects.runtime import PodDoor
from haldane.plan.names import MANAGED_BY, MANAGED_BY_LABEL
from haldane.settings import Settings
from haldane.shell import handlers, health

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0


def kopf_settings() -> kopf.OperatorSettings:
    """kopf as a pure watcher: it posts nothing, scans nothing, and never gives up on an API server that is away."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (1, 2, 4, 8, 15, *[30] * 10_000)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 15
    for kind in KINDS:
        if kind is not MODEL_DEPLOYMENTS:
            selector = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


async def run(settings: Settings) -> bool:
    """Run the operator until SIGTERM or SIGINT: True. False when a part of it ended by itself, with the reason logged."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    async with AsyncExitStack() as parts:
        login = Login()
        await login.renew()
        cluster = KubeCluster(login)
        parts.push_async_callback(cluster.close)
        prometheus = Prometheus(settings.prometheus_url, _access(settings))
        parts.callback(prometheus.close)
        clock, store = SystemClock(), Store()
        gates = None
        if settings.gates:
            door = PodDoor(login)
            parts.push_async_callback(door.close)
            gates = Gatekeeper(door, lambda key: queue.add(key, after=0.0))
            parts.push_async_callback(gates.close)
        metrics = Batcher(prometheus)
        looks = Looks(metrics, lambda key, urgent: queue.add(key, urgent=urgent))
        reconciler = Reconciler(
            cluster=cluster,
            looks=looks,
            recorder=EventRecorder(cluster, clock, settings.instance),
            clock=clock,
            store=store,
            images={"cpu": settings.runtime_image, "gpu": settings.runtime_gpu_image},
            gates=gates,
            rehearsals=Rehearsals(metrics, lambda key: queue.add(key, after=0.0)),
        )
        queue: Queue[Key] = Queue(reconciler, workers=settings.workers, patience=reconciler.patience)
        feed = Feed(
            cluster,
            store,
            lambda key: queue.add(key, urgent=reconciler.is_exposed(key)),
            settings.watch_namespaces,
        )
        probes, port = await health.serve(settings.health_port, health.checking(feed, queue))
        parts.push_async_callback(probes.cleanup)
        logger.info(
            "starting",
            extra={
                "version": version("haldane-operator"),
                "server": login.configuration.host,
                "namespaces": ",".join(settings.watch_namespaces) or "all",
                "health_port": port,
            },
        )
        return await _serve(stop, queue, feed, login, settings.watch_namespaces)


def _access(settings: Settings) -> Access:
    return Access(
        token_file=settings.prometheus_token_file,
        username_file=settings.prometheus_username_file,
        password_file=settings.prometheus_password_file,
        ca_file=settings.prometheus_ca_file,
        headers=settings.prometheus_headers,
    )


async def _serve(stop: asyncio.Event, queue: Queue[Key], feed: Feed, login: Login, namespaces: Sequence[str]) -> bool:
    stopping = asyncio.create_task(stop.wait(), name="stop")
    # Everything is listed before the first pass: a pass that knows no children would decide on an empty cluster.
    listing = asyncio.create_task(feed.relist_until_done(), name="first list")
    await asyncio.wait({stopping, listing}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await _cancel(listing)
        return True
    if listing.exception():
        logger.error("nothing is done", extra={"because": _why([listing])})
        return False
    watched, unwatch = asyncio.Event(), asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(
            registry=handlers.register(feed, login),
            settings=kopf_settings(),
            # Without a name kopf looks up the user's, and the image's user has none.
            identity=cast(Any, "haldane"),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            ready_flag=watched,
            stop_flag=unwatch,
        ),
        name="watches",
    )
    ready = asyncio.create_task(watched.wait(), name="ready")
    await asyncio.wait({stopping, watching, ready}, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(ready)
    _stop_on_signals(stop)  # kopf put its own handlers there, which would stop the watches alone
    working = asyncio.create_task(queue.run(), name="queue")
    relisting = asyncio.create_task(feed.run(), name="lists")
    logger.info("running")
    ended, _ = await asyncio.wait({stopping, watching, working, relisting}, return_when=asyncio.FIRST_COMPLETED)
    asked = stopping in ended
    logger.info("stopping", extra={"because": "asked to" if asked else _why(ended)})
    await _cancel(relisting)
    await _cancel(working)
    unwatch.set()
    with suppress(TimeoutError):
        await _settled(asyncio.wait_for(watching, STOP_SECONDS))
    await _cancel(stopping)
    return asked


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _why(ended: Iterable[asyncio.Task[Any]]) -> str:
    return "; ".join(f"{task.get_name()} ended: {task.exception() or 'without an error'}" for task in ended)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await _settled(task)


async def _settled(ending: Awaitable[object]) -> None:
    """Wait for the end of something whose failure has been told already."""
    with suppress(asyncio.CancelledError):
        try:
            await ending
        except TimeoutError:
            raise
        except Exception as error:
            logger.debug("ended", extra={"reason": repr(error)})
