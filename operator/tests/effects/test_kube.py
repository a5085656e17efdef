"""What the API server's answers, and its silence, mean for the control loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.ports import DEPLOYMENTS, KINDS, MODEL_DEPLOYMENTS
from haldane.effects import kube, login, requests
from haldane.effects.kube import KubeCluster
from haldane.effects.login import Login

Body = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEPLOYMENT: Body = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"namespace": "shop", "name": "fraud-1", "uid": "d1", "resourceVersion": "7"},
    "spec": {"selector": {}},
}


class Server:
    """An API server that answers what a test says; `seen` are the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.seen: list[tuple[str, str, str]] = []
        self.tokens: list[str] = []
        self.hang = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.seen.append((request.method, request.path_qs, request.content_type))
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.hang:
            await asyncio.sleep(60)
        status, body, headers = self.answers.pop(0)
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def cluster(
    server: Server, login_at: Callable[[Answer, str], Awaitable[Login]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KubeCluster]:
    monkeypatch.setattr(login, "PAUSE", 0.0)
    made = KubeCluster(await login_at(server.answer, "first"))
    yield made
    await made.close()


def refusal(message: str, **more: Any) -> Body:
    return {"kind": "Status", "status": "Failure", "message": message, **more}


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        (409, refusal("the object has been modified"), {}, Conflict),
        (422, refusal('Deployment "fraud-1" is invalid: spec.selector: required'), {}, Terminal),
        (400, refusal("strict decoding error: unknown field"), {}, Terminal),
        (403, refusal('deployments is forbidden: User "x" cannot patch'), {}, Terminal),
        (404, refusal("namespaces not found"), {}, Terminal),
        (429, refusal("too many requests"), {"Retry-After": "7"}, Retryable),
        (500, refusal("etcdserver: leader changed"), {}, Retryable),
        (500, refusal("failed to create typed patch object: .spec.x: field not declared in schema"), {}, Terminal),
        (503, refusal("apiserver is shutting down"), {"Retry-After": "soon"}, Retryable),
        (504, "<html>gateway timeout</html>", {}, Retryable),
        (401, refusal("Unauthorized"), {}, Retryable),
        (413, "", {}, Terminal),
        (460, "", {}, Terminal),
        (599, "", {"Retry-After": "86400"}, Retryable),
    ],
)
async def test_status_codes(
    cluster: KubeCluster, server: Server, status: int, body: Any, headers: dict[str, str], error: type[Exception]
) -> None:
    server.answers = [(status, body, headers)]
    with pytest.raises(error, match="cannot apply Deployment shop/fraud-1: ") as caught:
        await cluster.apply(DEPLOYMENT)
    if isinstance(body, dict) and status != 401:
        assert body["message"] in str(caught.value)
    if headers.get("Retry-After") == "7":
        assert isinstance(caught.value, Retryable)
        assert caught.value.after == timedelta(seconds=7)
    if headers.get("Retry-After") == "86400":
        assert isinstance(caught.value, Retryable)
        assert caught.value.after == timedelta(seconds=30)


async def test_a_token_that_is_refused_is_read_again(
    cluster: KubeCluster, server: Server, give_token: Callable[[str, str], None]
) -> None:
    give_token(cluster._login.configuration.host, "second")
    server.answers = [(401, refusal("Unauthorized"), {}), (200, DEPLOYMENT, {})]
    with pytest.raises(Retryable, match="does not accept the operator's credentials"):
        await cluster.apply(DEPLOYMENT)
    await cluster.apply(DEPLOYMENT)
    assert server.tokens == ["Bearer first", "Bearer second"]


async def test_no_answer_in_time(cluster: KubeCluster, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    server.hang = True
    with pytest.raises(Retryable, match=r"cannot apply Deployment shop/fraud-1: no answer within 0\.05 s"):
        await cluster.apply(DEPLOYMENT)


async def test_nobody_there(cluster: KubeCluster) -> None:
    cluster._login.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(Retryable, match="cannot apply Deployment shop/fraud-1: Cannot connect"):
        await cluster.apply(DEPLOYMENT)


async def test_lists_come_in_pages_of_one_version(cluster: KubeCluster, server: Server) -> None:
    server.answers = [
        (200, {"metadata": {"resourceVersion": "50", "continue": "abc="}, "items": [{"metadata": {"name": "a"}}]}, {}),
        (200, {"metadata": {"resourceVersion": "50"}, "items": [{"metadata": {"name": "b"}}]}, {}),
    ]
    listing = await cluster.list(DEPLOYMENTS, "shop")
    assert listing.version == 50
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in listing.items] == [
        ("Deployment", "apps/v1", "a"),
        ("Deployment", "apps/v1", "b"),
    ]
    selector = "labelSelector=app.kubernetes.io/managed-by%3Dhaldane"
    path = f"/apis/apps/v1/namespaces/shop/deployments?limit=500&{selector}"
    assert [(method, target) for method, target, _ in server.seen] == [
        ("GET", path),
        ("GET", f"{path}&continue=abc%3D"),
    ]


@pytest.mark.parametrize("body", ["<html>maintenance</html>", {"items": None, "metadata": {}}, {"items": []}])
async def test_what_is_no_list_is_asked_again(cluster: KubeCluster, server: Server, body: Any) -> None:
    server.answers = [(200, body, {})]
    with pytest.raises(Retryable, match="cannot list deployments: the answer is no list"):
        await cluster.list(DEPLOYMENTS, "shop")


async def test_models_are_listed_without_a_selector(cluster: KubeCluster, server: Server) -> None:
    server.answers = [(200, {"metadata": {"resourceVersion": "5"}, "items": []}, {})]
    assert (await cluster.list(MODEL_DEPLOYMENTS, None)).items == []
    assert server.seen[0][1] == "/apis/haldane.dev/v1alpha1/modeldeployments?limit=500"


async def test_what_is_not_there(cluster: KubeCluster, server: Server) -> None:
    server.answers = [(404, refusal("not found"), {})] * 3
    assert await cluster.get(DEPLOYMENTS, "shop", "fraud-1") is None
    await cluster.delete(DEPLOYMENT)
    with pytest.raises(Conflict, match="Deployment shop/fraud-1 is gone"):
        await cluster.write_status(DEPLOYMENT, {})


async def test_another_object_of_that_name_is_not_deleted(cluster: KubeCluster, server: Server) -> None:
    server.answers = [(409, refusal("the UID in the precondition does not match"), {})]
    await cluster.delete(DEPLOYMENT)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_paths(kind: Any) -> None:
    path = requests.path_of(kind, "shop", "a b", "status")
    group = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
    assert path == f"{group}/namespaces/shop/{kind.plural}/a%20b/status"


async def test_without_any_credentials(tmp_path: Path, use_kubeconfig: Callable[[Path], None]) -> None:
    use_kubeconfig(tmp_path / "none")
    with pytest.raises(Terminal, match="or set KUBECONFIG to the path of a kubeconfig"):
        await Login().renew()
