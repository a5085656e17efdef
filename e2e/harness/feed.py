"""Every state of some objects, in the order in which the API server had them: polling would miss the short ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config, watch

from e2e.harness.addresses import Addresses
from haldane.api.v1alpha1 import GROUP, PLURAL, VERSION

Seen = Callable[[str, dict[str, Any]], None]
"""Takes ADDED, MODIFIED or DELETED, and the object."""

_AGAIN_AFTER: Final = 0.5
_GROUPS: Final = {"deployments": "apps", "endpointslices": "discovery.k8s.io", "ingresses": "networking.k8s.io"}


class Feeds:
    """One connection to the API server, for all feeds of a run. Close it when done."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._custom = client.CustomObjectsApi(api)
        core = client.CoreV1Api(api)
        self._core = {"pods": core.list_namespaced_pod, "services": core.list_namespaced_service}

    @classmethod
    async def open(cls, addresses: Addresses) -> Feeds:
        return cls(
            await config.new_client_from_config(
                config_file=addresses.kubeconfig, context=addresses.context, persist_config=False
            )
        )

    async def close(self) -> None:
        await self._api.close()

    async def model_deployments(self, namespace: str, seen: Seen) -> None:
        """Tell `seen` of every state of the namespace's ModelDeployments, for ever."""
        await self.custom_objects(GROUP, VERSION, PLURAL, namespace, seen)

    async def objects(self, kind: str, namespace: str, seen: Seen) -> None:
        """Tell `seen` of every state of the namespace's objects of a kind, `pods` or `ingresses` for example, for ever."""
        if kind in self._core:
            await _follow(seen, self._core[kind], namespace)
        else:
            await self.custom_objects(_GROUPS[kind], "v1", kind, namespace, seen)

    async def custom_objects(self, group: str, version: str, plural: str, namespace: str, seen: Seen) -> None:
        """Tell `seen` of every state of the namespace's objects of a kind that belongs to a group, whichever, for ever."""
        await _follow(seen, self._custom.list_namespaced_custom_object, group, version, namespace, plural)


async def _follow(seen: Seen, listing: Callable[..., Any], *arguments: str) -> None:
    """A watch that broke off starts again with the objects as they are then; the API server decides how long one lasts."""
    while True:
        try:
            # Without a type to build, the objects stay as they came.
            async with watch.Watch(return_type="object") as stream:
                async for event in stream.stream(listing, *arguments):
                    seen(event["type"], event["raw_object"])
        except (client.ApiException, aiohttp.ClientError, OSError, TimeoutError):
            await asyncio.sleep(_AGAIN_AFTER)
