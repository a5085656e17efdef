import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.protocol.body import read_body
from haldane_runtime.protocol.compression import PIECE_BYTES, WORTH_BYTES, Inflater, compressed, deflate, wanted_coding

LIMIT = 10 * PIECE_BYTES
# Without the time of its making, the same each time that the tests are collected.
GZIPPED = gzip.compress(b"{}", mtime=0)
CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def inflate(coding: str, *chunks: bytes, limit: int = LIMIT) -> bytes:
    inflater = Inflater(coding, limit)
    pieces = [piece for chunk in chunks for piece in inflater.feed(chunk)]
    inflater.finish()
    assert max(map(len, pieces), default=0) <= PIECE_BYTES
    return b"".join(pieces)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, LIMIT])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_what_was_compressed_comes_back(coding: str, size: int, chunk: int) -> None:
    sent = CODINGS[coding](bytes(size))
    chunks = [sent[start : start + chunk] for start in range(0, len(sent), chunk)]
    assert inflate(coding, *chunks) == bytes(size)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_gzip_of_several_members_is_what_they_hold_together(chunk: int) -> None:
    sent = gzip.compress(b"ab") + GZIPPED + gzip.compress(b"") + gzip.compress(bytes(3 * PIECE_BYTES))
    chunks = [sent[start : start + chunk] for start in range(0, len(sent), chunk)]
    assert inflate("gzip", *chunks) == b"ab{}" + bytes(3 * PIECE_BYTES)
    assert inflate("x-gzip", *chunks) == b"ab{}" + bytes(3 * PIECE_BYTES)


def test_the_limit_holds_over_all_members() -> None:
    member = gzip.compress(bytes(PIECE_BYTES))
    assert len(inflate("gzip", 10 * member)) == LIMIT
    with pytest.raises(RequestError, match="also when it is inflated"):
        inflate("gzip", 10 * member, gzip.compress(b"!"))
    # Each costs more than its bytes say.
    with pytest.raises(RequestError, match="at most 10000 members"):
        inflate("gzip", 10_001 * gzip.compress(b""))


@given(st.binary(max_size=300), st.integers(1, 20), st.sampled_from(sorted(CODINGS)))
def test_however_it_is_cut(data: bytes, chunk: int, coding: str) -> None:
    sent = deflate(data, coding)
    assert inflate(coding, *(sent[start : start + chunk] for start in range(0, len(sent), chunk))) == data


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [LIMIT + 1, 100 * LIMIT])
def test_a_bomb_is_refused_when_it_passes_the_limit(coding: str, size: int) -> None:
    pieces = Inflater(coding, LIMIT).feed(CODINGS[coding](bytes(size)))
    inflated: list[int] = []
    with pytest.raises(RequestError, match=f"at most {LIMIT} bytes, also when it is inflated") as caught:
        inflated.extend(map(len, pieces))
    assert caught.value.code is Code.TOO_LARGE
    assert sum(inflated) <= LIMIT


@pytest.mark.parametrize(
    ("coding", "sent", "message"),
    [
        ("gzip", b"{}", "is not gzip data, as its content encoding says"),
        ("gzip", zlib.compress(b"{}"), "is not gzip data"),
        ("deflate", GZIPPED, "is not deflate data"),
        ("gzip", GZIPPED[:-1], "ends before its gzip data does"),
        ("gzip", GZIPPED + b"!", "goes on after the end of its gzip data"),
        ("gzip", GZIPPED + GZIPPED[:-1], "ends before its gzip data does"),
        ("gzip", GZIPPED + GZIPPED[:1], "ends before its gzip data does"),
        ("gzip", GZIPPED + b"\x1f!", "is not gzip data"),
        ("deflate", 2 * zlib.compress(b"{}"), "goes on after the end of its deflate data"),
        ("deflate", zlib.compress(b"{}")[:-1] + b"!", "is not deflate data"),
    ],
)
def test_broken_streams_are_told(coding: str, sent: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        inflate(coding, sent)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "", "x", "x-deflate"])
def test_other_codings_are_not_served(coding: str) -> None:
    with pytest.raises(RequestError) as caught:
        Inflater(coding, LIMIT)
    assert caught.value.code is Code.UNSUPPORTED_ENCODING


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("*", None),
        ("gzip", "gzip"),
        ("Deflate", "deflate"),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, deflate", "deflate"),
        ("br", None),
        ("gzip, deflate", None),
        ("gzip, deflate, br, zstd", None),
        (";;,,", None),
    ],
)
def test_only_one_named_coding_is_a_wish(accept: str | None, coding: str | None) -> None:
    assert wanted_coding(accept) == coding


@pytest.mark.parametrize("size", [WORTH_BYTES, 1 << 20])
async def test_answers_are_compressed_when_that_is_worth_it(size: int) -> None:
    body, coding = await compressed(bytes(size), "deflate")
    assert coding == "deflate"
    assert zlib.decompress(body) == bytes(size)
    assert await compressed(bytes(WORTH_BYTES - 1), "gzip") == (bytes(WORTH_BYTES - 1), None)
    assert await compressed(bytes(size), "gzip, deflate") == (bytes(size), None)


def request(headers: dict[str, str], *chunks: bytes) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    remaining = iter(messages)

    async def receive() -> dict[str, object]:
        return next(remaining)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


async def test_a_body_is_inflated_while_it_is_read() -> None:
    sent = gzip.compress(b"abc" * 1000)
    chunks = [sent[:5], sent[5:]]
    assert await read_body(request({"content-encoding": "GZIP"}, *chunks), 3000, 10) == b"abc" * 1000
    assert await read_body(request({"content-encoding": "gzip"}), 3000, 10) == b""
    with pytest.raises(RequestError, match="at most 2999 bytes, also when it is inflated"):
        await read_body(request({"content-encoding": "gzip"}, *chunks), 2999, 10)
    with pytest.raises(RequestError, match="at most 10 bytes, got more"):
        await read_body(request({"content-encoding": "gzip"}, *chunks), 10, 10)


async def test_a_bomb_is_not_read_to_its_end() -> None:
    chunk = zlib.compress(bytes(1 << 20))
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield chunk

    chunks = endless()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    scope = {"type": "http", "headers": [(b"content-encoding", b"deflate")]}
    with pytest.raises(RequestError) as caught:
        await read_body(Request(scope, receive), 1000, 10)
    assert caught.value.code is Code.TOO_LARGE
    assert read == 1
