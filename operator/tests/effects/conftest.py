"""The operator's login: at the real API server, or at one that a test stands in for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web

from haldane.effects.kube import KubeCluster
from haldane.effects.login import Login

if TYPE_CHECKING:
    from e2e.apiserver.server import ApiServer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def use_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Have the operator look for its kubeconfig in this file."""

    def use(file: Path) -> None:
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))

    return use


@pytest.fixture
def give_token(tmp_path: Path, use_kubeconfig: Callable[[Path], None]) -> Callable[[str, str], None]:
    """Write the operator's kubeconfig: the API server's URL, and the token to show there."""

    def give(url: str, token: str) -> None:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        use_kubeconfig(file)

    return give


@pytest.fixture
async def login_at(give_token: Callable[[str, str], None]) -> AsyncIterator[Callable[[Answer, str], Awaitable[Login]]]:
    """Log the operator in, with a token, at an API server whose every answer is a test's."""
    runners: list[web.AppRunner] = []

    async def log_in(answer: Answer, token: str) -> Login:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        give_token(f"http://127.0.0.1:{runner.addresses[0][1]}", token)
        login = Login()
        await login.renew()
        return login

    yield log_in
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def live_cluster(apiserver: ApiServer, use_kubeconfig: Callable[[Path], None]) -> AsyncIterator[KubeCluster]:
    """The operator's client with the administrator's rights."""
    use_kubeconfig(apiserver.kubeconfig())
    login = Login()
    await login.renew()
    made = KubeCluster(login)
    yield made
    await made.close()
