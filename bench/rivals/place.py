"""One try's own namespace: what is applied there, and every state of its objects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from kubernetes.aio import client, config

from bench.rivals import app
from bench.rivals.app import NAME, Manifest
from bench.rivals.controller import Controller, Kind
from e2e.harness.addresses import Addresses
from e2e.harness.background import in_background
from e2e.harness.errors import HarnessError
from e2e.harness.feed import Feeds
from e2e.harness.kube import Kube

_WRITE_SECONDS: Final = 10.0
_REMOVE_SECONDS: Final = 120.0


class Place:
    """A namespace with one app. Times are the event loop's clock."""

    def __init__(self, addresses: Addresses, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self.kube = Kube(addresses, namespace)
        self.body: Manifest | None = None
        """The object that tells how the rollout goes, as it was seen last."""
        self.pods: dict[str, float] = {}
        """When each pod was first seen, by uid."""
        self._folder = folder
        self._api: Any = None
        self._changed = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, addresses: Addresses, namespace: str, controller: Controller, folder: Path
    ) -> AsyncIterator[Place]:
        """A fresh namespace, watched for as long as the context lasts, and removed after it."""
        place = cls(addresses, namespace, folder)
        async with place.kube:
            place._api = await config.new_client_from_config(
                config_file=addresses.kubeconfig, context=addresses.context, persist_config=False
            )
            await place.apply("ground", app.ground(namespace))
            feeds, kind = Feeds(place._api), controller.watched
            try:
                async with in_background(
                    feeds.custom_objects(kind.group, kind.version, kind.plural, namespace, place._saw_app),
                    feeds.objects("pods", namespace, place._saw_pod),
                ):
                    yield place
            finally:
                await place._api.close()
                with contextlib.suppress(HarnessError):
                    await place._remove()

    @property
    def now(self) -> float:
        """The event loop's clock, in seconds."""
        return asyncio.get_running_loop().time()

    async def apply(self, name: str, objects: list[Manifest]) -> None:
        """kubectl apply. Raises HarnessError."""
        await self.kube.apply_objects(self._folder / f"{self.namespace}-{name}.yaml", objects)

    async def change(self, kind: Kind, patch: Manifest) -> float:
        """Merge-patch the app's object; when the write was sent."""
        sent = self.now
        await client.CustomObjectsApi(self._api).patch_namespaced_custom_object(
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
            NAME,
            patch,
            _content_type="application/merge-patch+json",
            _request_timeout=_WRITE_SECONDS,
        )
        return sent

    async def until(self, what: str, holds: Callable[[Manifest], bool], seconds: float) -> bool:
        """Wait until the object that tells is as `holds` wants it; False when it is not after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.body is not None and holds(self.body)):
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    def _saw_app(self, kind: str, body: Manifest) -> None:
        if kind != "DELETED" and body["metadata"]["name"] == NAME:
            self.body = body
            self._changed.set()

    def _saw_pod(self, _kind: str, body: Manifest) -> None:
        self.pods.setdefault(body["metadata"]["uid"], self.now)

    async def _remove(self) -> None:
        for kind in ("modeldeployments", "canaries.flagger.app", "rollouts.argoproj.io", "deployments"):
            with contextlib.suppress(HarnessError):
                await self.kube.kubectl("delete", kind, "--all", "-n", self.namespace, "--wait=false")
        with contextlib.suppress(HarnessError):
            await self.kube.kubectl("delete", "pods", "--all", "-n", self.namespace, "--grace-period=1", "--wait=false")
        await self.kube.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")


async def remove_leftovers(addresses: Addresses) -> None:
    """Delete the namespaces of an earlier run, and wait until they are gone."""
    async with Kube(addresses, "default") as kube:
        words = ("delete", "namespace", "-l", app.LABEL, "--ignore-not-found", f"--timeout={_REMOVE_SECONDS:.0f}s")
        await kube.kubectl(*words, seconds=_REMOVE_SECONDS + 10)
