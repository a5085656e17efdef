"""The runtimes in the pods, asked through the API server.

Through it, because that way is open wherever the operator runs and whatever network policies say of its own pod; the right
that it takes is `get` and `create` on `pods/proxy`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException

from haldane.control.errors import Terminal
from haldane.control.ports import Manifest, Reply
from haldane.effects.kube import phrase
from haldane.effects.login import Login
from haldane.effects.requests import JSON
from haldane.effects.trust import Trust

LONGEST = 1024 * 1024
"""Bytes of an answer that are read: as objects they take some ten times as much of the operator's memory."""
CONNECTIONS = 8
_CUT_OFF = "the API server cannot reach its pod"
_ADDRESS = re.compile(r"\b(dial|read|write) tcp \S+?(->\S+)?: ")


class PodDoor:
    """Implements `control.ports.Runtimes`. Close it when done."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._client = ApiClient(login.configuration)
        context = self._client.rest_client.ssl_context
        self._trust = Trust(context, login.configuration)
        # A session of its own: a pod's answer must not lead anywhere else, and must not be read to the end. By `trust_env` it
        # takes the proxy of the environment, as the official client's does: where that is the way, there is no other.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context), trust_env=True, auto_decompress=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        await self._client.close()

    async def ask(self, namespace: str, pod: str, path: str, body: Manifest | None, seconds: float) -> Reply:
        """See `Runtimes`."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                code, document = await self._exchange(namespace, pod, path, body)
        except TimeoutError:
            return Reply(0, seconds=seconds, problem=f"no answer within {seconds:g} s", is_cut_off=True)
        except (aiohttp.ClientError, OSError) as problem:
            return Reply(0, problem=f"the API server cannot be reached: {type(problem).__name__}")
        except ConfigException as problem:
            return Reply(0, problem=f"the operator's credentials cannot be read: {problem}")
        took = time.monotonic() - began
        # A pod can pretend to be the API server: all that this may bring is another try.
        if _is_the_api_servers(document):
            if code == HTTPStatus.UNAUTHORIZED:
                with suppress(Terminal):
                    await self._login.renew()
            refusal = _refusal(code, document)
            return Reply(0, seconds=took, problem=refusal, is_cut_off=refusal.startswith(_CUT_OFF))
        return Reply(code, document, took)

    async def _exchange(self, namespace: str, pod: str, path: str, body: Manifest | None) -> tuple[int, Any]:
        self._trust.refresh()
        method, configuration = "GET" if body is None else "POST", self._login.configuration
        target = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe=':')}/proxy{path}"
        headers = {"Accept": JSON, "User-Agent": "haldane"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], target, method, None)
        more: dict[str, Any] = (
            {"server_hostname": configuration.tls_server_name} if configuration.tls_server_name else {}
        )
        if configuration.proxy:
            more |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        async with self._session.request(
            method, configuration.host + target, json=body, headers=headers, allow_redirects=False, **more
        ) as response:
            read = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                read += chunk
                if len(read) > LONGEST:
                    response.close()
                    return response.status, None
            return response.status, _parsed(bytes(read))


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_the_api_servers(document: Any) -> bool:
    """Whether it was the API server that answered, in place of the pod."""
    return isinstance(document, dict) and (document.get("kind"), document.get("apiVersion")) == ("Status", "v1")


def _refusal(code: int, document: Manifest) -> str:
    if code == HTTPStatus.FORBIDDEN:
        return "the operator has no right to ask pods: grant it get and create on pods/proxy, or set the chart's gates.enabled: false"
    if code == HTTPStatus.UNAUTHORIZED:
        return "the API server does not accept the operator's credentials"
    if code == HTTPStatus.NOT_FOUND:
        return "its pod has gone"
    # Without addresses: the same cause is to give the same text for every pod.
    said = _ADDRESS.sub("", str(document.get("message") or phrase(code)))
    said = said.removeprefix("error trying to reach service: ")
    return f"{_CUT_OFF}: {' '.join(said.split())[:200]}"
