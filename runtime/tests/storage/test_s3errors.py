"""What endpoints say that are not as they should be, each with its own reason and sentence."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")


@pytest.fixture
def failure(tmp_path: Any) -> Callable[..., LoadError]:
    """`failure(endpoint, uri)` is the error of a load, which must come in time."""

    def load(endpoint: str, uri: str = "s3://models/a/model.onnx") -> LoadError:
        started = time.monotonic()
        with pytest.raises(LoadError) as caught:
            fetch(parse(uri), None, tmp_path / "cache", S3Options(endpoint, None))
        assert time.monotonic() - started < 13
        return caught.value

    return load


def answer(status: str, body: str, kind: str = "application/xml") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


def error(code: str, message: str = "Something.") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    [
        ("400 Bad Request", error("AuthorizationHeaderMalformed", "the region is wrong; expecting 'eu-west-1'"),
         Reason.INVALID_CONFIGURATION, "expecting 'eu-west-1'"),
        ("301 Moved Permanently", error("PermanentRedirect"), Reason.INVALID_CONFIGURATION, "set HALDANE_S3_REGION"),
        ("403 Forbidden", error("RequestTimeTooSkewed"), Reason.ACCESS_DENIED, "the clock of this machine is wrong"),
        ("400 Bad Request", error("ExpiredToken"), Reason.ACCESS_DENIED, "the session token has expired"),
        ("403 Forbidden", error("InvalidAccessKeyId"), Reason.ACCESS_DENIED, "AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", error("AccessDenied"), Reason.ACCESS_DENIED, "lack the permission"),
        ("404 Not Found", error("NoSuchBucket"), Reason.MODEL_NOT_FOUND, "the bucket does not exist"),
        ("500 Internal Server Error", error("InternalError"), Reason.STORAGE_UNREACHABLE, "answered 500 InternalError"),
        ("503 Slow Down", error("SlowDown"), Reason.STORAGE_UNREACHABLE, "answered 503 SlowDown"),
        ("405 Method Not Allowed", error("MethodNotAllowed"), Reason.LOAD_FAILED, "answered 405"),
        # botocore takes an answer that it cannot read for an error of the server.
        ("200 OK", "<!doctype html><p>hello", Reason.STORAGE_UNREACHABLE, "answered 500 for"),
        ("400 Bad Request", "<!doctype html><p>hello", Reason.LOAD_FAILED, "answered 400 for"),
        ("200 OK", "<html>hello</html>", Reason.INVALID_CONFIGURATION, "does not answer as S3 does"),
    ],
)  # fmt: skip
def test_what_a_storage_answers_is_told_apart(
    failure: Callable[..., LoadError], faulty: Any, fault: Any, status: str, body: str, reason: Reason, message: str
) -> None:
    proxy = faulty(0, lambda number, head: fault(instead=answer(status, body)))
    told = failure(proxy.url, "s3://models/folder/")
    assert (told.reason, message in told.message) == (reason, True), told.message


def test_ways_that_lead_nowhere_are_told_apart(failure: Callable[..., LoadError], web: Any, storage: Any) -> None:
    port = web.host.split(":")[1]
    for endpoint, message in (
        (
            "http://127.0.0.1:1",
            "http://127.0.0.1:1 cannot be reached for s3://models/a/model.onnx: connection refused.",
        ),
        ("http://storage.invalid:9000", "its name cannot be resolved"),
        (f"https://{web.host}", "has a certificate that is not trusted: "),
        (f"https://127.0.0.1:{storage.port}", "does not speak TLS: write it with http://"),
        (f"http://127.0.0.1:{port}", "cannot be reached"),
    ):
        told = failure(endpoint)
        assert told.reason is Reason.STORAGE_UNREACHABLE, told.message
        assert message in told.message, told.message


def test_a_private_authority_can_be_trusted(
    failure: Callable[..., LoadError], web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(web.bundle))
    assert failure(f"https://{web.host}").reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("name", "value", "reason", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", "", Reason.ACCESS_DENIED, "Partial credentials"),
        ("AWS_PROFILE", "absent", Reason.INVALID_CONFIGURATION, "correct AWS_PROFILE"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    failure: Callable[..., LoadError],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    reason: Reason,
    message: str,
) -> None:
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    told = failure("http://127.0.0.1:1")
    assert (told.reason, message in told.message) == (reason, True), told.message


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["folder/model.onnx", "folder/../../../etc/cron.d/x"], "unusable name '../../../etc/cron.d/x'"),
        (["folder/model.onnx", "folder//etc/passwd"], "unusable name '/etc/passwd'"),
        (["folder/model.onnx", "folder/a\\..\\b"], "unusable name"),
        (["folder/model.onnx", "folder/w", "folder/w/a"], "'w' both as a file and as a folder"),
    ],
)
def test_keys_that_would_leave_the_folder_are_refused_before_anything_is_written(
    failure: Callable[..., LoadError], faulty: Any, fault: Any, tmp_path: Any, keys: list[str], message: str
) -> None:
    contents = "".join(f'<Contents><Key>{key}</Key><ETag>"1"</ETag><Size>1</Size></Contents>' for key in keys)
    listing = f"<ListBucketResult><Name>models</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    proxy = faulty(0, lambda number, head: fault(instead=answer("200 OK", listing)))
    told = failure(proxy.url, "s3://models/folder/")
    assert (told.reason, message in told.message) == (Reason.INVALID_MODEL, True), told.message
    assert not (tmp_path / "cache").exists()
