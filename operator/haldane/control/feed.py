"""What fills the store: watch events as they come, and a full list from time to time, because watches lose things."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.ports import KINDS, Cluster, Kind
from haldane.control.store import Key, Store

logger = logging.getLogger(__name__)

RELIST_INTERVAL = 180.0
RETRY_INTERVAL = 10.0
DEAF_AFTER = 2
"""Lists that brought news of a kind since its watch said anything: then the watch is dead."""


class Feed:
    """Keeps the store true, and enqueues the ModelDeployments that news concerns."""

    def __init__(
        self, cluster: Cluster, store: Store, enqueue: Callable[[Key], None], namespaces: Sequence[str] = ()
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._enqueue = enqueue
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._heard: set[str] = set()
        self._missed: dict[str, int] = {}
        self.listed_at: float | None = None
        """Loop time of the last full list; None before the first."""

    def take(self, event: Mapping[str, Any]) -> None:
        """One watch event: `{"type": None | "ADDED" | "MODIFIED" | "DELETED", "object": {...}}`."""
        obj = event["object"]
        self._heard.add(obj["kind"])
        key = self._store.remove(obj) if event["type"] == "DELETED" else self._store.put(obj)
        if key:
            self._enqueue(key)

    @property
    def deaf(self) -> tuple[str, ...]:
        """Kinds whose watch is dead: lists bring news that it never tells of."""
        return tuple(kind for kind, times in self._missed.items() if times >= DEAF_AFTER)

    async def relist(self) -> None:
        """List everything once. Raises Retryable, Terminal or Conflict; what was listed until then is taken over."""
        for kind in KINDS:
            news = await self._relist(kind)
            if kind.kind in self._heard:
                self._missed.pop(kind.kind, None)
            elif news and self.listed_at is not None:
                self._missed[kind.kind] = self._missed.get(kind.kind, 0) + 1
            self._heard.discard(kind.kind)
            for key in news:
                self._enqueue(key)
        self.listed_at = asyncio.get_running_loop().time()

    async def _relist(self, kind: Kind) -> set[Key]:
        news: set[Key] = set()
        for namespace in self._namespaces:
            news |= self._store.replace(kind, namespace, await self._cluster.list(kind, namespace))
        return news

    async def run(self) -> None:
        """List again and again until cancelled."""
        while True:
            await asyncio.sleep(RELIST_INTERVAL)
            await self.relist_until_done()

    async def relist_until_done(self) -> None:
        """List everything, however long the API server takes to come (back)."""
        while True:
            try:
                await self.relist()
            except (Retryable, Terminal, Conflict) as problem:
                logger.warning("cannot list", extra={"reason": str(problem), "again_in": RETRY_INTERVAL})
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                return
