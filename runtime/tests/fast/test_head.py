"""Heads: what is plain, what is not, and what is remembered."""

import pytest

from haldane_runtime.protocol.fast.head import Head, Heads, looks_like_http, parse

PLAIN = "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"


def head_of(text: str) -> Head | None:
    return parse((text + "\r\n").encode("latin-1"))[0]


@pytest.mark.parametrize(
    ("request_line", "head"),
    [
        ("/v2/models/m/infer", Head("m", None, False, 5, None, None, None)),
        ("/v2/models/m%20n/infer", Head("m n", None, False, 5, None, None, None)),
        ("/v2/models/m/versions/3/infer", Head("m", "3", False, 5, None, None, None)),
        ("/v1/predict", Head(None, None, True, 5, None, None, None)),
        ("/v1/models/m:predict", Head("m", None, True, 5, None, None, None)),
    ],
)
def test_the_routes_that_run_a_model(request_line: str, head: Head) -> None:
    assert head_of(f"POST {request_line} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n") == head


def test_what_a_client_may_add() -> None:
    lines = "X-Request-Timeout: 0.5\r\nX-Request-ID: abc\r\nInference-Header-Content-Length: 3\r\nAccept-Encoding: gzip, deflate\r\n"
    assert head_of(PLAIN + lines) == Head("m", None, False, 5, 3, 0.5, "abc")


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("POST", "GET"),
        PLAIN.replace("HTTP/1.1", "HTTP/1.0"),
        PLAIN.replace("/infer", "/infer?verbose=1"),
        PLAIN.replace("/infer", "/config"),
        PLAIN.replace("/m/", "/m/n/o/"),
        PLAIN.replace("Content-Length: 5", "Content-Length: -5"),
        PLAIN.replace("Content-Length: 5\r\n", ""),
        PLAIN + "Content-Length: 6\r\n",
        PLAIN + "Transfer-Encoding: chunked\r\n",
        PLAIN + "Content-Encoding: gzip\r\n",
        PLAIN + "Accept-Encoding: gzip\r\n",
        PLAIN + "Expect: 100-continue\r\n",
        PLAIN + "Connection: close\r\n",
        PLAIN + "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        PLAIN + "X-Request-Timeout: soon\r\n",
        PLAIN + "X-Request-Timeout: 0\r\n",
        PLAIN + "X-Request-Timeout: inf\r\n",
        PLAIN + "X-Request-Timeout: nan\r\n",
        PLAIN + "Inference-Header-Content-Length: 0\r\n",
        PLAIN + "Inference-Header-Content-Length: two\r\n",
        PLAIN + "no header at all\r\n",
        PLAIN + "X: a\r\nX: b\r\n",
        PLAIN.replace("POST", "P OST"),
        "",
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_general_path(text: str) -> None:
    assert head_of(text) is None


def test_a_head_is_read_once_and_found_again() -> None:
    heads = Heads()
    message = (PLAIN + "\r\nhello").encode()
    first, again = heads.read(message), heads.read(message)
    assert first == (len(message) - 5, Head("m", None, False, 5, None, None, None))
    assert again[1] is first[1]


def test_a_head_that_is_cut_is_not_read_and_a_long_one_is_left_to_the_general_path() -> None:
    heads = Heads()
    assert heads.read(PLAIN.encode()) == (0, None)
    long = PLAIN.encode() + b"X: " + b"y" * 4096 + b"\r\n\r\n"
    assert heads.read(long) == (len(long), None)


@pytest.mark.parametrize(
    ("data", "waited_for"),
    [(b"P", True), (b"POST", True), (b"GET /v2 HT", True), (b"\x16\x03\x01", False), (b"get /", False), (b" ", False)],
)
def test_only_what_may_become_a_request_is_waited_for(data: bytes, waited_for: bool) -> None:
    assert looks_like_http(data) is waited_for


def test_memory_stays_bounded_whatever_clients_send() -> None:
    heads = Heads()
    for number in range(2000):
        heads.read(f"{PLAIN}X-Client: {number}\r\n\r\n".encode())
        heads.read(f"{PLAIN}X-Request-ID: {number}\r\n\r\n".encode())
    assert len(heads._known) <= 256
    assert not any(b"X-Request-ID" in raw for raw in heads._known)
