"""At an API server with TLS, and behind a proxy: the gates' door goes the same way as the client that does all the rest."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
import yaml
from aiohttp import web

from haldane.control.errors import Retryable
from haldane.control.ports import DEPLOYMENTS
from haldane.effects.kube import KubeCluster
from haldane.effects.login import Login
from haldane.effects.runtime import PodDoor

Ways = dict[str, Callable[[], Awaitable[object]]]


async def answer(request: web.Request) -> web.Response:
    return web.json_response({"seen": str(request.url)})


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[trustme.CA | None], Awaitable[str]]]:
    """Start an API server; with an authority, by TLS, and only for clients with a certificate of it. Gives its URL."""
    runners: list[web.AppRunner] = []

    async def start(authority: trustme.CA | None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        context = None
        if authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return f"{'https' if authority else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def write(authority: trustme.CA, folder: Path) -> None:
    """What a kubelet or a tool writes when it renews."""
    certificate = authority.issue_cert("haldane@example.com")
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))


@pytest.fixture
async def log_in(tmp_path: Path, use_kubeconfig: Callable[[Path], None]) -> Callable[[str], Awaitable[Login]]:
    """Log in at a URL with the certificates of `tmp_path`."""

    async def log_in_at(url: str) -> Login:
        user = {"client-certificate": "tls.crt", "client-key": "tls.key"}
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": user if url.startswith("https") else {"token": "mine"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        use_kubeconfig(file)
        login = Login()
        await login.renew()
        return login

    return log_in_at


@pytest.fixture
async def ways() -> AsyncIterator[Callable[[Login], Ways]]:
    """A read by each of the clients; the door's gives the answer's code, or why there was none."""
    async with AsyncExitStack() as parts:

        def of(login: Login) -> Ways:
            cluster, door = KubeCluster(login), PodDoor(login)
            parts.push_async_callback(cluster.close)
            parts.push_async_callback(door.close)

            async def by_the_cluster() -> object:
                return await cluster.get(DEPLOYMENTS, "shop", "fraud")

            async def by_the_door() -> object:
                reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
                if reply.problem:
                    raise Retryable(reply.problem)
                return reply.document

            return {"cluster": by_the_cluster, "door": by_the_door}

        yield of


@pytest.mark.parametrize("way", ["cluster", "door"])
async def test_certificates_that_are_renewed_are_read_anew(
    serve: Callable[[trustme.CA], Awaitable[str]],
    log_in: Callable[[str], Awaitable[Login]],
    ways: Callable[[Login], Ways],
    tmp_path: Path,
    way: str,
) -> None:
    old, new = trustme.CA(), trustme.CA()
    write(old, tmp_path)
    login = await log_in(await serve(old))
    ask = ways(login)[way]
    assert await ask()
    login.configuration.host = await serve(new)
    with pytest.raises(Retryable):
        await ask()
    (tmp_path / "ca.crt").write_text("half of a")
    with pytest.raises(Retryable):
        await ask()
    write(new, tmp_path)
    assert await ask()


@pytest.mark.parametrize("way", ["cluster", "door"])
@pytest.mark.parametrize("excepted", [False, True])
async def test_both_clients_take_the_proxy_of_the_environment(
    serve: Callable[[trustme.CA | None], Awaitable[str]],
    log_in: Callable[[str], Awaitable[Login]],
    ways: Callable[[Login], Ways],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    excepted: bool,
) -> None:
    server = await serve(None)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1" if excepted else server)
    monkeypatch.setenv("no_proxy", "127.0.0.1" if excepted else "")
    login = await log_in(server if excepted else "http://kubernetes.invalid")
    assert await ways(login)[way]()
