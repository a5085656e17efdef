"""Against a real https server with a certificate of its own."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store import https
from haldane_runtime.store.fetch import FetchedModel, S3Options, fetch
from haldane_runtime.store.https import HttpsSource
from haldane_runtime.store.journal import BLOCK_BYTES
from haldane_runtime.store.location import parse


@pytest.fixture
def get(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FetchedModel]:
    monkeypatch.setattr(https, "BACKOFF_SECONDS", 0.01)

    def getter(path: str, sha256: str | None = None) -> FetchedModel:
        return fetch(parse(f"https://{web.host}{path}"), sha256, tmp_path / "cache", S3Options(None, None))

    return getter


def test_a_file_is_fetched_and_kept(web: Any, get: Callable[..., FetchedModel]) -> None:
    web.files["/a.onnx"] = b"content" * 1000
    fetched = get("/a.onnx?signature=secret", hashlib.sha256(web.files["/a.onnx"]).hexdigest())
    assert fetched.path.read_bytes() == web.files["/a.onnx"]
    asked = len(web.ranges)
    assert get("/a.onnx") == fetched
    assert len(web.ranges) == asked + 1


def test_a_redirect_within_https_is_followed(web: Any, get: Callable[..., FetchedModel]) -> None:
    web.files["/b.onnx"] = b"content"
    web.statuses["/a.onnx"] = (302, {"Location": f"https://{web.host}/b.onnx"})
    assert get("/a.onnx").path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("status", "headers", "reason", "message"),
    [
        (404, {}, Reason.MODEL_NOT_FOUND, "does not exist"),
        (403, {}, Reason.ACCESS_DENIED, "with 403"),
        (401, {}, Reason.ACCESS_DENIED, "with 401"),
        (503, {}, Reason.STORAGE_UNREACHABLE, "answered 503"),
        (418, {}, Reason.LOAD_FAILED, "answered 418"),
        (302, {"Location": "http://127.0.0.1/a.onnx"}, Reason.ACCESS_DENIED, "to an address without https"),
    ],
)
def test_refusals_are_told_apart(
    web: Any, get: Callable[..., FetchedModel], status: int, headers: dict[str, str], reason: Reason, message: str
) -> None:
    web.statuses["/a.onnx"] = (status, headers)
    with pytest.raises(LoadError) as caught:
        get("/a.onnx?signature=secret")
    assert caught.value.reason is reason
    assert message in caught.value.message
    assert "secret" not in caught.value.message


def test_a_server_that_is_down_and_one_not_trusted_are_named(
    web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "BACKOFF_SECONDS", 0.01)
    for host, message in (("localhost:1", "cannot be reached"), (web.host, "its certificate is not trusted")):
        if host == web.host:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(LoadError, match=message) as caught:
            fetch(parse(f"https://{host}/a.onnx"), None, tmp_path / "cache", S3Options(None, None))
        assert caught.value.reason is Reason.STORAGE_UNREACHABLE


def test_a_kill_during_a_download_leaves_what_the_next_start_uses(
    web: Any, heavy: Callable[[int], Path], start: Callable[..., Any], tmp_path: Path
) -> None:
    web.files["/m.onnx"] = heavy(3 * BLOCK_BYTES).read_bytes()
    web.pause_after = 2 * BLOCK_BYTES + 1000
    environment = {"HALDANE_CACHE_DIR": str(tmp_path / "cache"), **web.environment()}
    killed = start(f"https://{web.host}/m.onnx", **environment).listening()
    assert web.paused.wait(20)
    deadline = time.monotonic() + 20
    while sum(journal.read_bytes().count(b" ") for journal in (tmp_path / "cache").glob("partial/*/journal")) < 4:
        assert time.monotonic() < deadline, "the first blocks never arrived"
        time.sleep(0.01)
    killed.stop()
    web.resume.set()
    server = start(f"https://{web.host}/m.onnx", **environment).ready()
    assert server.client.post("/v1/predict", json={"instances": [[1, 2, 3]]}).json()["predictions"] == [[2, 4, 6]]
    assert web.ranges[-1] == f"bytes={2 * BLOCK_BYTES}-"


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_part_is_the_same_whether_or_not_the_server_knows_ranges(web: Any, knows_ranges: bool) -> None:
    body = bytes(range(256)) * 1000
    web.files["/m.onnx"] = body
    web.knows_ranges = knows_ranges
    source = HttpsSource(parse(f"https://{web.host}/m.onnx"))
    (entry,) = source.entries()
    for start, end in ((0, None), (0, len(body)), (0, 10), (100_000, 200_001), (255_999, 256_000)):
        with source.read(entry, start, end) as chunks:
            assert b"".join(chunks) == body[start:end]


def test_a_file_replaced_in_the_middle_is_never_spliced(
    web: Any, get: Callable[..., FetchedModel], tmp_path: Path
) -> None:
    old, new = b"o" * 100_000, b"n" * 100_000
    web.files["/m.onnx"] = old
    web.pause_after = 50_000
    with ThreadPoolExecutor() as pool:
        fetched = pool.submit(get, "/m.onnx")
        assert web.paused.wait(20)
        web.files["/m.onnx"] = new
        web.resume.set()
        with pytest.raises(LoadError, match="was replaced while it was being read; start again") as caught:
            fetched.result(20)
    assert caught.value.reason is Reason.LOAD_FAILED
    assert list((tmp_path / "cache").glob("partial/*/model/*")) == []
    assert get("/m.onnx").path.read_bytes() == new


def test_a_file_replaced_before_its_first_byte_is_told(web: Any) -> None:
    web.files["/m.onnx"] = b"old"
    source = HttpsSource(parse(f"https://{web.host}/m.onnx"))
    (entry,) = source.entries()
    web.files["/m.onnx"] = b"new"
    with pytest.raises(LoadError, match="was replaced"), source.read(entry, 0, None):
        pass


UNPROVEN: list[dict[str, str | None]] = [
    {"ETag": None},
    {"ETag": 'W/"weak"'},
    {"Content-Range": None},
    {"Content-Range": "bytes 0-149999/200000"},
    {"Content-Range": "bytes 50000-199999/300000"},
    {"Content-Range": "items 50000-199999/200000"},
]


@pytest.mark.parametrize("headers", UNPROVEN)
def test_a_part_that_does_not_say_what_it_is_part_of_is_not_taken(web: Any, headers: dict[str, str | None]) -> None:
    old, new = bytes(range(200)) * 1000, b"n" * 200_000
    web.files["/m.onnx"] = old
    web.if_range = False
    web.part_headers = headers
    source = HttpsSource(parse(f"https://{web.host}/m.onnx"))
    (entry,) = source.entries()
    with source.read(entry, 50_000, None) as chunks:
        assert b"".join(chunks) == old[50_000:]
    assert web.ranges[-2:] == ["bytes=50000-", None]
    web.files["/m.onnx"] = new
    with pytest.raises(LoadError, match="was replaced"), source.read(entry, 50_000, None):
        pass


def test_a_part_of_another_content_is_told_at_once(web: Any) -> None:
    web.files["/m.onnx"] = b"o" * 1000
    web.if_range = False
    source = HttpsSource(parse(f"https://{web.host}/m.onnx"))
    (entry,) = source.entries()
    web.files["/m.onnx"] = b"n" * 1000
    with pytest.raises(LoadError, match="was replaced"), source.read(entry, 500, None):
        pass
    assert web.ranges[-1] == "bytes=500-"
