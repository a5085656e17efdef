"""How the API server is reached: in-cluster, or by a kubeconfig; read again when the server no longer takes the token."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from haldane.control.errors import Terminal


@dataclass(frozen=True)
class Access:
    """Address and credentials as plain values, for a client other than the official one."""

    server: str
    ca_path: str | None
    insecure: bool
    token: str | None
    certificate_path: str | None
    private_key_path: str | None


async def load(into: Configuration | None = None) -> Configuration:
    """Read the service account's files, or the kubeconfig when there is none.

    Raises Terminal with what is missing.
    """
    configuration = into or Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config(configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as problem:
        raise Terminal(
            f"no way to reach a Kubernetes API server: {problem}; run inside a cluster with a service account, "
            "or set KUBECONFIG to the path of a kubeconfig"
        ) from problem
    return configuration


async def access(configuration: Configuration) -> Access:
    """The configuration as plain values, with the token as it is now."""
    header = await configuration.get_api_key_with_prefix("BearerToken")
    return Access(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        token=header.split(" ", 1)[-1].strip() if header else None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
