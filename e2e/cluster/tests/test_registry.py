"""Whether a registry answers is decided by how it answers, and soon."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.cluster import registry
from e2e.cluster.errors import ClusterError


@contextmanager
def answering(status: int, headers: dict[str, str], hold: threading.Event | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hold:
                hold.wait(30)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v2/"
    finally:
        if hold:
            hold.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(registry.OVERRIDE, raising=False)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (401, {"WWW-Authenticate": 'Bearer realm="https://auth.example/token"'}, True),
        (200, {"Docker-Distribution-Api-Version": "registry/2.0"}, True),
        (200, {}, True),
        (401, {"WWW-Authenticate": "Basic"}, False),
        (403, {}, False),
        (502, {}, False),
    ],
)
def test_answers(status: int, headers: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(status, headers) as url:
        monkeypatch.setattr(registry, "PROBED", (url,))
        assert registry.reachable() == expected


def test_all_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, {}) as url, answering(403, {}) as refusing:
        monkeypatch.setattr(registry, "PROBED", (url, refusing))
        assert not registry.reachable()


def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, {}, threading.Event()) as url:
        monkeypatch.setattr(registry, "PROBED", (url,))
        monkeypatch.setattr(registry, "SECONDS", 0.2)
        start = time.monotonic()
        assert not registry.reachable()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(("value", "expected"), [("yes", True), ("no", False), ("NO", False)])
def test_the_override_decides(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.OVERRIDE, value)
    monkeypatch.setattr(registry, "PROBED", ())
    assert registry.reachable() == expected


def test_a_wrong_override_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.OVERRIDE, "maybe")
    with pytest.raises(ClusterError, match="set it to yes or no"):
        registry.reachable()
