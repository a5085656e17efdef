"""The Kubernetes API through the official client, as the control loop's `Cluster`."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.ports import SCALE_MANAGER, Kind, Listing, Manifest
from haldane.effects import requests
from haldane.effects.login import Login
from haldane.effects.requests import Request
from haldane.effects.trust import Trust

TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=5)
LONGEST_MESSAGE = 2000
LONGEST_RETRY = 30.0
"""Seconds: the API server may ask for patience, a proxy's page for a day is not obeyed."""
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GONE}
# How server-side apply refuses an unknown field, a wrong type, or an item that stands twice in a list.
_UNTYPED = "failed to create typed patch object"


class KubeCluster:
    """Implements `control.ports.Cluster`. Close it when done."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._client = ApiClient(login.configuration)
        self._trust = Trust(self._client.rest_client.ssl_context, login.configuration)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """See `Cluster`."""
        return await self._send(requests.get(kind, namespace, name), missing_is_fine=True)

    async def list(self, kind: Kind, namespace: str | None) -> Listing:
        """See `Cluster`."""
        items: list[Manifest] = []
        after, version = "", 0
        while True:
            answer = await self.send(requests.page(kind, namespace, after))
            try:
                items += [{**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in answer["items"]]
                # Every page speaks of the moment of the first.
                version = version or int(answer["metadata"]["resourceVersion"])
                after = answer["metadata"].get("continue") or ""
            except (KeyError, TypeError, ValueError) as problem:
                # A proxy's page for maintenance comes with 200, too.
                raise Retryable(f"cannot list {kind.plural}: the answer is no list of the API server's") from problem
            if not after:
                return Listing(items, version)

    async def apply(self, manifest: Manifest) -> Manifest:
        """See `Cluster`."""
        return await self.send(requests.apply(manifest))

    async def create(self, manifest: Manifest, replicas: int) -> Manifest:
        """See `Cluster`.

        Three applies: the scale manager makes the whole Deployment, the field manager takes everything but `replicas`, and
        then the scale manager lets go of everything but `replicas`. Killed in between, the next pass applies the manifest
        again; all that is lost is that the scale manager shares fields that it never writes.
        """
        await self.send(requests.apply(requests.with_replicas(manifest, replicas), SCALE_MANAGER, force=False))
        live = await self.send(requests.apply(manifest))
        try:
            return await self.send(
                requests.apply(requests.only_replicas(manifest, replicas), SCALE_MANAGER, force=False)
            )
        except Conflict:  # an autoscaler was quicker and owns replicas now
            return live

    async def scale(self, deployment: Manifest, replicas: int) -> Manifest:
        """See `Cluster`."""
        answer = await self.send(requests.scale(deployment, replicas))
        metadata = {**deployment["metadata"], "resourceVersion": answer["metadata"]["resourceVersion"]}
        return {**deployment, "metadata": metadata, "spec": {**deployment["spec"], "replicas": replicas}}

    async def delete(self, manifest: Manifest) -> None:
        """See `Cluster`."""
        try:
            await self._send(requests.delete(manifest), missing_is_fine=True)
        except Conflict:  # another object has its name by now
            return

    async def write_status(self, parent: Manifest, status: Manifest) -> Manifest:
        """See `Cluster`."""
        answer = await self._send(requests.status(parent, status), missing_is_fine=True)
        if answer is None:
            metadata = parent["metadata"]
            raise Conflict(f"ModelDeployment {metadata['namespace']}/{metadata['name']} is gone")
        return answer

    async def send(self, request: Request) -> Manifest:
        """Send a request; the answer's body. Raises Retryable, Terminal or Conflict."""
        answer = await self._send(request)
        if answer is None:
            raise Terminal(f"cannot {request.does}: the API server answered nothing")
        return answer

    async def _send(self, request: Request, *, missing_is_fine: bool = False) -> Manifest | None:
        status, headers, body = await self._exchange(request)
        if status < HTTPStatus.BAD_REQUEST:
            return body
        if status == HTTPStatus.NOT_FOUND and missing_is_fine:
            return None
        if status == HTTPStatus.UNAUTHORIZED:
            await self._login.renew()
        raise error_of(request, status, headers.get("Retry-After"), body.get("message") or "")

    async def _exchange(self, request: Request) -> tuple[int, Any, Manifest]:
        self._trust.refresh()
        headers = {"Accept": requests.JSON, "Content-Type": request.content_type, "User-Agent": "haldane"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], request.path, request.method, None)
        try:
            async with asyncio.timeout(TIMEOUT.total):
                response = await self._client.call_api(
                    request.method,
                    self._login.configuration.host + request.target,
                    headers,
                    request.body,
                    _request_timeout=TIMEOUT,
                )
                data = await response.read()
        except TimeoutError as problem:
            raise Retryable(f"cannot {request.does}: no answer within {TIMEOUT.total:g} s") from problem
        except (aiohttp.ClientError, OSError) as problem:
            raise Retryable(f"cannot {request.does}: {problem or type(problem).__name__}") from problem
        return response.status, response.headers, _parsed(data)


def error_of(request: Request, status: int, retry_after: str | None, message: str) -> Exception:
    """What a status code means for the control loop, with a sentence for people."""
    said = message[:LONGEST_MESSAGE] or phrase(status)
    sentence = f"cannot {request.does}: {said}"
    if status == HTTPStatus.CONFLICT:
        return Conflict(sentence)
    if status == HTTPStatus.UNAUTHORIZED:
        return Retryable(f"cannot {request.does}: the API server does not accept the operator's credentials")
    if _UNTYPED in message:
        # Answered with 500, but it is the manifest that is wrong, and no other try will be better.
        return Terminal(sentence)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
        return Retryable(sentence, timedelta(seconds=min(seconds, LONGEST_RETRY)) if seconds else None)
    return Terminal(sentence)


def phrase(status: int) -> str:
    """What a status code is called; proxies have codes of their own."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else f"HTTP {status}"


def _parsed(data: bytes) -> Manifest:
    """The body as an object; what is not JSON (a proxy's error page) as a message."""
    try:
        body = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()}
    return body if isinstance(body, dict) else {"message": str(body)}
