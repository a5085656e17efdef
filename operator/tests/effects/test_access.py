"""Prometheus behind a proxy that asks who is there, over TLS of its own authority: a real server that demands it."""

from __future__ import annotations

import json
import re
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from haldane.control.ports import Series, Unavailable
from haldane.effects.access import Access
from haldane.effects.prometheus import Prometheus

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = (Series({}, 1.0),)
ANSWER = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}).encode()


class Guarded:
    """Answers 1 to who shows what it demands, 401 without and 403 with other credentials."""

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        self.demanded = ""
        self.seen: list[dict[str, str]] = []
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                guarded.seen.append(dict(self.headers))
                shown = self.headers.get("Authorization", "")
                status = 200 if shown == guarded.demanded else 403 if shown else 401
                body = ANSWER if status == 200 else b"who are you?"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_port}"

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    made = Guarded()
    yield made
    made.end()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(authority: trustme.CA) -> Iterator[Guarded]:
    made = Guarded(authority.issue_cert("127.0.0.1"))
    yield made
    made.end()


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


async def test_a_bearer_token_and_its_successor(guarded: Guarded, tmp_path: Path) -> None:
    prometheus = Prometheus(guarded.url, Access(token_file=written(tmp_path, "token", "first\n")))
    guarded.demanded = "Bearer first"
    assert await prometheus.query("up", AT) == ONE

    guarded.demanded = "Bearer second"
    assert isinstance(await prometheus.query("up", AT), Unavailable)
    written(tmp_path, "token", "second")
    assert await prometheus.query("up", AT) == ONE, "a renewed token counts at once"


async def test_basic_authentication(guarded: Guarded, tmp_path: Path) -> None:
    guarded.demanded = f"Basic {b64encode('haldane:pä:ss'.encode()).decode()}"
    user, password = written(tmp_path, "username", "haldane\n"), written(tmp_path, "password", "pä:ss")
    prometheus = Prometheus(guarded.url, Access(username_file=user, password_file=password))
    assert await prometheus.query("up", AT) == ONE


async def test_more_headers_go_with_every_query(guarded: Guarded, tmp_path: Path) -> None:
    guarded.demanded = "Bearer t"
    access = Access(token_file=written(tmp_path, "token", "t"), headers={"X-Scope-OrgID": "payments"})
    prometheus = Prometheus(guarded.url, access)
    assert [await prometheus.query("up", AT) for _ in range(2)] == [ONE, ONE]
    assert [headers["X-Scope-OrgID"] for headers in guarded.seen] == ["payments", "payments"]


@pytest.mark.parametrize(("shown", "status"), [("", 401), ("wrong", 403)])
async def test_who_is_not_let_in_is_told_so(guarded: Guarded, tmp_path: Path, shown: str, status: int) -> None:
    guarded.demanded = "Bearer right"
    access = Access(token_file=written(tmp_path, "token", shown)) if shown else Access()
    answer = await Prometheus(guarded.url, access).query("up", AT)
    assert answer == Unavailable(
        f"Prometheus at {guarded.url} does not let the operator in (HTTP {status}): check its credentials"
    )


@pytest.mark.parametrize(("text", "why"), [(None, r"No such file or directory"), ("\n", "is empty")])
async def test_credentials_that_are_not_there_are_named(
    guarded: Guarded, tmp_path: Path, text: str | None, why: str
) -> None:
    file = str(tmp_path / "token")
    if text is not None:
        written(tmp_path, "token", text)
    answer = await Prometheus(guarded.url, Access(token_file=file)).query("up", AT)
    assert isinstance(answer, Unavailable)
    assert re.search(rf"is not asked, because its credentials are missing: {re.escape(file)}.*{why}", answer.reason)
    assert guarded.seen == []


async def test_an_authority_of_its_own(over_tls: Guarded, authority: trustme.CA, tmp_path: Path) -> None:
    file = written(tmp_path, "ca.crt", authority.cert_pem.bytes().decode())
    assert await Prometheus(over_tls.url, Access(ca_file=file)).query("up", AT) == ONE


async def test_a_stranger_is_not_asked(over_tls: Guarded, tmp_path: Path) -> None:
    file = written(tmp_path, "ca.crt", trustme.CA().cert_pem.bytes().decode())
    access = Access(ca_file=file, token_file=written(tmp_path, "token", "secret"))
    answers = {await Prometheus(over_tls.url, access).query(promql, AT) for promql in ("up", "down")}
    assert answers == {
        Unavailable(
            f"Prometheus at {over_tls.url} cannot be trusted (unable to get local issuer certificate): "
            "check its certificate, or name its authority"
        )
    }
    assert over_tls.seen == []


async def test_a_missing_authority_is_named(over_tls: Guarded) -> None:
    answer = await Prometheus(over_tls.url, Access(ca_file="/nowhere/ca.crt")).query("up", AT)
    assert isinstance(answer, Unavailable)
    assert "is not asked" in answer.reason
    assert "/nowhere/ca.crt" in answer.reason
