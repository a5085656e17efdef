"""The real client, logged in at the real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from haldane.effects.kube import KubeCluster
from haldane.effects.login import Login

if TYPE_CHECKING:
    from e2e.apiserver.server import ApiServer


@pytest.fixture
async def live_cluster(apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeCluster]:
    """The operator's client with the administrator's rights."""
    kubeconfig = str(apiserver.kubeconfig())
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubeconfig)
    login = Login()
    await login.renew()
    made = KubeCluster(login)
    yield made
    await made.close()
