"""Against a real S3 server."""

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store import s3
from haldane_runtime.store.digest import folder_digest
from haldane_runtime.store.fetch import FetchedModel, S3Options, fetch
from haldane_runtime.store.location import parse


@pytest.fixture
def get(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FetchedModel]:
    """`get(uri, sha256)` with the right credentials and a cache of its own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", storage.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", storage.SECRET)

    def getter(uri: str, sha256: str | None = None, endpoint: str | None = None) -> FetchedModel:
        return fetch(parse(uri), sha256, tmp_path / "cache", S3Options(endpoint or storage.url, None))

    return getter


def refused(attempt: Callable[[], object], reason: Reason, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        attempt()
    assert caught.value.reason is reason
    assert message in caught.value.message


def test_a_file_is_fetched_verified_and_kept(storage: Any, get: Callable[..., FetchedModel]) -> None:
    body = os.urandom(3_000_000)
    uri = storage.put("a/model.onnx", body)
    digest = hashlib.sha256(body).hexdigest()
    fetched = get(uri, digest)
    assert fetched.path.read_bytes() == body
    assert fetched.digest == digest
    # Known by its digest, the storage is not asked again; without a digest, only for its ETag.
    assert get(uri, digest, endpoint="http://127.0.0.1:1") == fetched
    modified = fetched.path.stat().st_mtime_ns
    assert get(uri) == fetched
    assert fetched.path.stat().st_mtime_ns == modified


def test_a_folder_is_fetched_whole(storage: Any, get: Callable[..., FetchedModel], tmp_path: Path) -> None:
    files = {"model.onnx": b"m" * 100, "weights/a.bin": b"w" * 1000, "README": b"r"}
    for name, body in files.items():
        storage.put(f"folder/1/{name}", body)
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / name).write_bytes(body)
    storage.put("folder/1/marker/", b"")
    storage.put("folder/10/model.onnx", b"another version")
    fetched = get("s3://models/folder/1", folder_digest(tmp_path / "same"))
    assert {
        path.relative_to(fetched.path.parent).as_posix() for path in fetched.path.parent.rglob("*") if path.is_file()
    } == set(files)


def test_a_replaced_object_is_fetched_anew(storage: Any, get: Callable[..., FetchedModel]) -> None:
    uri = storage.put("replaced/model.onnx", b"one")
    assert get(uri).path.read_bytes() == b"one"
    storage.put("replaced/model.onnx", b"two")
    assert get(uri).path.read_bytes() == b"two"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://models/absent/model.onnx", "the key does not exist"),
        ("s3://models/absent/", "s3://models/absent/ does not exist: no object has that prefix"),
        ("s3://no-such-bucket/model.onnx", "the bucket does not exist"),
        ("s3://no-such-bucket/a/", "the bucket does not exist"),
        ("s3://models/headless/", "has no model.onnx; it holds net.onnx"),
    ],
)
def test_what_is_missing_is_named(storage: Any, get: Callable[..., FetchedModel], uri: str, message: str) -> None:
    storage.put("headless/net.onnx", b"n")
    refused(lambda: get(uri), Reason.MODEL_NOT_FOUND, message)


@pytest.mark.parametrize("uri", ["s3://models/denied/model.onnx", "s3://models/denied/"])
@pytest.mark.parametrize(
    ("access", "secret", "message"),
    [
        ("test-access", "wrong", "SignatureDoesNotMatch: the secret key is wrong"),
        ("unknown", "wrong", "InvalidAccessKeyId: the access key is not known there"),
        ("other-access", "other-secret", "AccessDenied: the credentials lack the permission"),
        ("", "", "no credentials were given: set AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_is_denied_says_why(
    storage: Any,
    get: Callable[..., FetchedModel],
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    access: str,
    secret: str,
    message: str,
) -> None:
    storage.put("denied/model.onnx", b"d")
    for name, value in (("AWS_ACCESS_KEY_ID", access), ("AWS_SECRET_ACCESS_KEY", secret)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    refused(lambda: get(uri), Reason.ACCESS_DENIED, message)


def test_a_wrong_checksum_is_refused_and_not_kept(
    storage: Any, get: Callable[..., FetchedModel], tmp_path: Path
) -> None:
    uri = storage.put("sum/model.onnx", b"content")
    for _ in range(2):
        refused(lambda: get(uri, "0" * 64), Reason.CHECKSUM_MISMATCH, hashlib.sha256(b"content").hexdigest())
    assert not list((tmp_path / "cache").rglob("model.onnx"))
    assert get(uri).path.read_bytes() == b"content"


def test_an_endpoint_that_is_down_is_named(get: Callable[..., FetchedModel]) -> None:
    refused(
        lambda: get("s3://models/a/model.onnx", endpoint="http://127.0.0.1:1"),
        Reason.STORAGE_UNREACHABLE,
        "http://127.0.0.1:1 cannot be reached for s3://models/a/model.onnx",
    )


def test_an_endpoint_that_never_answers_is_named(
    get: Callable[..., FetchedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(lambda: get("s3://models/a/", endpoint=endpoint), Reason.STORAGE_UNREACHABLE, "cannot be reached")


def test_a_body_cut_in_the_middle_is_resumed(
    storage: Any, get: Callable[..., FetchedModel], cutting: Callable[[int, list[int]], Any]
) -> None:
    body = os.urandom(3_000_000)
    uri = storage.put("cut/model.onnx", body)
    # The first connection carries the question for the entry and the first part of the body.
    proxy = cutting(storage.port, [1_500_000, 1_000_000])
    assert get(uri, hashlib.sha256(body).hexdigest(), endpoint=proxy.url).path.read_bytes() == body
    assert proxy.connections == 3
