"""How the API server is reached: in-cluster, or by a kubeconfig; read again when the server no longer takes the token."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from haldane.control.errors import Terminal

PAUSE = 2.0
"""Seconds between two renewals: credentials that are refused again and again must not become a busy loop."""


@dataclass(frozen=True)
class Access:
    """Address and credentials as plain values, for a client other than the official one."""

    server: str
    ca_path: str | None
    insecure: bool
    token: str | None
    certificate_path: str | None
    private_key_path: str | None


class Login:
    """The operator's credentials, shared by everything that speaks to the API server."""

    def __init__(self) -> None:
        self.configuration = Configuration()
        self._one_at_a_time = asyncio.Lock()
        self._renewed_at = float("-inf")
        self._handed_out = False

    async def renew(self) -> None:
        """Read the service account's files, or the kubeconfig (exec plugins included). Raises Terminal with what is missing."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._one_at_a_time:
            if self._renewed_at >= asked_at:
                return  # somebody else did, meanwhile
            await asyncio.sleep(max(0.0, self._renewed_at + PAUSE - loop.time()))
            await self._load()
            self._renewed_at = loop.time()

    async def access(self) -> Access:
        """The credentials; asked for again, renewed ones: those handed out before were refused, or have expired."""
        if self._handed_out:
            await self.renew()
        self._handed_out = True
        found = self.configuration
        header = await found.get_api_key_with_prefix("BearerToken")
        return Access(
            server=found.host,
            ca_path=found.ssl_ca_cert,
            insecure=not found.verify_ssl,
            token=header.split(" ", 1)[-1].strip() if header else None,
            certificate_path=found.cert_file,
            private_key_path=found.key_file,
        )

    async def _load(self) -> None:
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
                config.load_incluster_config(self.configuration)
            else:
                await config.load_kube_config(client_configuration=self.configuration)
        except config.ConfigException as problem:
            raise Terminal(
                f"no way to reach a Kubernetes API server: {problem}; run inside a cluster with a service account, "
                "or set KUBECONFIG to the path of a kubeconfig"
            ) from problem
