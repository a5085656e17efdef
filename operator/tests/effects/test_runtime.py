"""What comes back from a runtime in a pod, through an API server, and what comes back in its place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.config import ConfigException

from haldane.effects import runtime
from haldane.effects.login import Login
from haldane.effects.runtime import PodDoor

Body = dict[str, Any]
LoginAt = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]], str], Awaitable[Login]]


class Server:
    """An API server whose proxy answers what a test says; `seen` are the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.seen: list[tuple[str, str, str, Any]] = []
        self.hang = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        token = request.headers.get("Authorization", "")
        self.seen.append((request.method, request.path, token, json.loads(text) if text else None))
        if self.hang:
            await asyncio.sleep(60)
        status, body = self.answers.pop(0)
        if status == 302:
            return web.Response(status=302, headers={"Location": body})
        return (
            web.Response(status=status, text=body) if isinstance(body, str) else web.json_response(body, status=status)
        )


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def door(server: Server, login_at: LoginAt) -> AsyncIterator[PodDoor]:
    made = PodDoor(await login_at(server.answer, "mine"))
    yield made
    await made.close()


def status(code: int, message: str) -> Body:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


async def test_a_page_is_read_and_a_request_sent_at_the_pods_port(door: PodDoor, server: Server) -> None:
    server.answers = [(200, {"name": "fraud"}), (200, {"outputs": []})]
    reply = await door.ask("shop", "fraud-1-x:8080", "/v2/models/fraud", None, 5.0)
    assert (reply.code, reply.document, reply.problem) == (200, {"name": "fraud"}, "")
    assert 0 < reply.seconds < 5
    reply = await door.ask("shop", "fraud-1-x:8080", "/v2/models/fraud/infer", {"inputs": []}, 5.0)
    assert (reply.code, reply.document) == (200, {"outputs": []})
    at = "/api/v1/namespaces/shop/pods/fraud-1-x:8080/proxy/v2/models/fraud"
    assert server.seen == [("GET", at, "Bearer mine", None), ("POST", f"{at}/infer", "Bearer mine", {"inputs": []})]


@pytest.mark.parametrize(
    ("code", "body", "document"),
    [
        (404, {"error": "no such model"}, {"error": "no such model"}),
        (500, {"error": "it broke"}, {"error": "it broke"}),
        (200, "no JSON", None),
        (503, "", None),
        (200, '{"data": [NaN]}', {"data": [pytest.approx(float("nan"), nan_ok=True)]}),
        (200, "[" * 100_000, None),
    ],
)
async def test_what_the_pod_itself_says_is_its_answer(
    door: PodDoor, server: Server, code: int, body: Any, document: Any
) -> None:
    server.answers = [(code, body)]
    reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
    assert (reply.code, reply.document, reply.problem) == (code, document, "")


REACHED = "the API server cannot reach its pod: "
IN_ITS_PLACE = [
    (
        503,
        "error trying to reach service: dial tcp 10.244.0.7:8080: connect: connection refused",
        f"{REACHED}connect: connection refused",
    ),
    (
        503,
        "error trying to reach service: read tcp 10.0.0.1:5->10.244.0.7:8080: read: connection reset by peer",
        f"{REACHED}read: connection reset by peer",
    ),
    (500, "", f"{REACHED}Internal Server Error"),
    (404, 'pods "pod" not found', "its pod has gone"),
    (
        403,
        'pods "pod" is forbidden: User "x" cannot get resource "pods/proxy"',
        "the operator has no right to ask pods: grant it get and create on pods/proxy, or set the chart's gates.enabled: false",
    ),
    (401, "Unauthorized", "the API server does not accept the operator's credentials"),
]


@pytest.mark.parametrize(("code", "message", "problem"), IN_ITS_PLACE)
async def test_what_the_api_server_says_in_its_place_is_no_answer(
    door: PodDoor, server: Server, monkeypatch: pytest.MonkeyPatch, code: int, message: str, problem: str
) -> None:
    monkeypatch.setattr("haldane.effects.login.PAUSE", 0.0)
    server.answers = [(code, status(code, message))]
    reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
    assert (reply.code, reply.document, reply.problem) == (0, None, problem)
    assert reply.is_cut_off == problem.startswith(REACHED)


async def test_a_token_that_is_refused_is_read_again(
    door: PodDoor, server: Server, monkeypatch: pytest.MonkeyPatch, give_token: Callable[[str, str], None]
) -> None:
    monkeypatch.setattr("haldane.effects.login.PAUSE", 0.0)
    give_token(door._login.configuration.host, "second")
    server.answers = [(401, status(401, "Unauthorized")), (200, {})]
    assert (await door.ask("shop", "pod:8080", "/v2", None, 5.0)).problem
    assert (await door.ask("shop", "pod:8080", "/v2", None, 5.0)).code == 200
    assert [token for _, _, token, _ in server.seen] == ["Bearer mine", "Bearer second"]


async def test_credentials_that_cannot_be_read_are_no_answer(
    door: PodDoor, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("haldane.effects.login.PAUSE", 0.0)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "gone"))
    server.answers = [(401, status(401, "Unauthorized"))]
    reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
    assert reply.problem == "the API server does not accept the operator's credentials"

    def unreadable(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    monkeypatch.setattr(door._login.configuration, "refresh_api_key_hook", unreadable)
    reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
    assert reply.problem == "the operator's credentials cannot be read: Token file exists but empty."


async def test_a_pod_that_hangs_is_given_up(door: PodDoor, server: Server) -> None:
    server.hang = True
    reply = await door.ask("shop", "pod:8080", "/v2", None, 0.05)
    assert (reply.code, reply.seconds, reply.problem) == (0, 0.05, "no answer within 0.05 s")
    assert reply.is_cut_off


async def test_a_pod_cannot_send_the_operator_elsewhere(door: PodDoor, server: Server) -> None:
    server.answers = [(302, "/api/v1/namespaces/shop/secrets")]
    assert (await door.ask("shop", "pod:8080", "/v2", None, 5.0)).code == 302
    assert len(server.seen) == 1


async def test_no_more_is_read_than_fits(door: PodDoor, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LONGEST", 1000)
    server.answers = [(200, json.dumps("x" * 2000)), (200, {"fits": True})]
    assert (await door.ask("shop", "pod:8080", "/v2", None, 5.0)).document is None
    assert (await door.ask("shop", "pod:8080", "/v2", None, 5.0)).document == {"fits": True}


async def test_an_api_server_that_is_away_is_no_answer(door: PodDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door._login.configuration, "host", "http://127.0.0.1:1")
    reply = await door.ask("shop", "pod:8080", "/v2", None, 5.0)
    assert (reply.code, reply.problem) == (0, "the API server cannot be reached: ClientConnectorError")
