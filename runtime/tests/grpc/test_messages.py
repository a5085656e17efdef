"""Prefixes, compression with its bounds, timeouts and messages of trailers."""

import gzip
import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.protocol.grpc import messages
from haldane_runtime.protocol.grpc.headers import (
    metadata_value,
    parse_timeout,
    percent_encoded,
    read_head,
    received,
    trailers_fault,
)
from haldane_runtime.protocol.grpc.status import Status, Unserved

# Without the time of its making, the same each time that the tests are collected.
GZIPPED = gzip.compress(b"abc", mtime=0)


@given(st.binary(max_size=5000), st.sampled_from(["identity", "gzip", "deflate"]))
def test_packed_and_unpacked(message: bytes, encoding: str) -> None:
    data = messages.packed((message[:7], memoryview(message)[7:]), encoding)
    assert messages.declared_size(data) == len(data) - messages.PREFIX_BYTES
    payload = data[messages.PREFIX_BYTES :]
    assert (messages.Inflation(data[0], payload, encoding, 5000).finish() if data[0] else payload) == message


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate"]), st.integers(1, 4000), st.integers(0, 4000))
def test_a_message_inflated_in_two_steps(message: bytes, encoding: str, first: int, limit: int) -> None:
    deflate = gzip.compress if encoding == "gzip" else zlib.compress
    inflation = messages.Inflation(1, deflate(message), encoding, limit)
    try:
        begun = inflation.begin(first)
        assert begun is None or len(begun) <= first
        assert (inflation.finish() if begun is None else begun) == message
    except RequestError as error:
        assert error.code is Code.TOO_LARGE  # noqa: PT017
        assert len(message) > limit
    else:
        assert len(message) <= limit
        # What fits in the first step is not put off.
        assert begun is not None or len(message) >= first


@pytest.mark.parametrize(
    ("flag", "payload", "encoding", "code"),
    [
        (2, b"", "gzip", Code.INVALID),
        (1, b"", "identity", Code.INVALID),
        (1, b"no gzip", "gzip", Code.INVALID),
        (1, GZIPPED[:-1], "gzip", Code.INVALID),
        (1, GZIPPED + b"x", "gzip", Code.INVALID),
        (1, zlib.compress(b"abc"), "gzip", Code.INVALID),
        (1, b"", "deflate", Code.INVALID),
        (1, gzip.compress(bytes(1001), mtime=0), "gzip", Code.TOO_LARGE),
        (1, zlib.compress(bytes(10_000_000)), "deflate", Code.TOO_LARGE),
    ],
)
def test_compressed_messages_that_are_refused(flag: int, payload: bytes, encoding: str, code: Code) -> None:
    with pytest.raises(RequestError) as caught:
        messages.Inflation(flag, payload, encoding, 1000).finish()
    assert caught.value.code is code


def test_an_unknown_encoding() -> None:
    with pytest.raises(Unserved, match="'br' is not known") as caught:
        messages.Inflation(1, b"", "br", 1000)
    assert caught.value.status is Status.UNIMPLEMENTED


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_compressed_bytes(payload: bytes, encoding: str) -> None:
    try:
        assert len(messages.Inflation(1, payload, encoding, 100).finish()) <= 100
    except RequestError as error:
        assert error.code in (Code.INVALID, Code.TOO_LARGE)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9), (b"99999999S", 99999999)],
)
def test_timeouts(text: bytes, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"1", b"S", b"-1S", b"1.5S", b"123456789S", b"1s", b" 1S", b"1S\n"])
def test_malformed_timeouts(text: bytes) -> None:
    timeout = parse_timeout(text)
    assert timeout is not None
    assert math.isnan(timeout)


def test_percent_encoding() -> None:
    assert percent_encoded("a b%\n\u00e9") == b"a b%25%0A%C3%A9"
    assert len(percent_encoded("\N{SNOWMAN}" * 2000)) <= 4096


def test_metadata_values() -> None:
    assert metadata_value("rev-1 \u00e9\n") == b"rev-1 ??"


REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"te", b"trailers"))


def test_a_request() -> None:
    fields = (
        *REQUEST,
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"identity, gzip"),
        (b"grpc-timeout", b"1S"),
    )
    got = received(fields)
    assert (got.head.path, got.head.encoding, got.head.fault) == (b"/a.B/C", "gzip", "")
    assert got.head.accepts == {"identity", "gzip"}
    assert got.varying == {b"grpc-timeout": b"1S"}
    assert got.timeout == 1
    # Whatever the timeout, the rest is the same object.
    assert received((*fields[:-1], (b"grpc-timeout", b"2S"))).head is got.head


@pytest.mark.parametrize(
    "fields",
    [
        REQUEST[1:],
        (*REQUEST[:2], (b":path", b"")),
        (*REQUEST, (b":authority", b"late")),
        (REQUEST[0], *REQUEST),
        (*REQUEST, (b":nothing", b"")),
        (*REQUEST, (b"Upper", b"")),
        (*REQUEST, (b"", b"")),
        (*REQUEST, (b"sp ace", b"")),
        (*REQUEST, (b"connection", b"close")),
        (*REQUEST, (b"te", b"gzip")),
        (*REQUEST, (b"x", b"a\nb")),
        (*REQUEST, (b"content-length", b"many")),
    ],
)
def test_malformed_requests(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    assert read_head(fields).fault


def test_trailers_of_a_request() -> None:
    assert not trailers_fault(((b"x-sum", b"1"),))
    assert trailers_fault(((b":path", b"/"),))
    assert trailers_fault(((b"Sum", b"1"),))
