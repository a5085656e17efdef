"""Every malformed request: the right status, one clear sentence, and a server that goes on serving."""

import gzip
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest

REQUEST_BYTES = 8 << 20
INFER = "/v2/models/double/infer"
GOOD = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
RAW = np.arange(3, dtype="<f4").tobytes()


def document(**changes: Any) -> bytes:
    tensor = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    return json.dumps({"inputs": [tensor]}).encode()


def request(**changes: Any) -> bytes:
    return json.dumps({"inputs": [GOOD]} | changes).encode()


def binary(data: bytes, size: Any = 12, header: Any = None, **changes: Any) -> dict[str, Any]:
    """A request with binary data; `header` in place of the true length of its JSON."""
    head = document(data=..., parameters={"binary_data_size": size}, **changes)
    return {"content": head + data, "headers": {"Inference-Header-Content-Length": str(header or len(head))}}


def encoded(coding: str, body: bytes) -> dict[str, Any]:
    return {"content": body, "headers": {"content-encoding": coding}}


def bomb(coding: str) -> bytes:
    zeros = bytes(100 * REQUEST_BYTES // 8)
    squeezed = gzip.compress(zeros) if coding == "gzip" else zlib.compress(zeros)
    assert len(squeezed) < REQUEST_BYTES / 8
    return squeezed


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield bytes(1 << 20)


CASES: list[tuple[str, str, dict[str, Any], int, str]] = [
    # The document
    ("empty", INFER, {"content": b""}, 400, "the request body is empty; send {"),
    ("no JSON", INFER, {"content": b"hello"}, 400, "the request body is not valid JSON"),
    ("truncated JSON", INFER, {"content": document()[:-5]}, 400, "not valid JSON"),
    ("more after the JSON", INFER, {"content": document() + b"{}"}, 400, "not valid JSON"),
    ("UTF-16", INFER, {"content": document().decode().encode("utf-16")}, 400, "not valid JSON"),
    ("a byte order mark", INFER, {"content": b"\xef\xbb\xbf" + document()}, 400, "not valid JSON"),
    ("not UTF-8", INFER, {"content": b'{"inputs": "\xff"}'}, 400, "not valid JSON"),
    ("a list", INFER, {"content": b"[1]"}, 400, "must be a JSON object"),
    ("a number", INFER, {"content": b"1"}, 400, "must be a JSON object"),
    ("deep arrays", INFER, {"content": b"[" * 100_000 + b"]" * 100_000}, 400, "not valid JSON"),
    ("deep objects", INFER, {"content": b'{"a":' * 100_000 + b"1" + b"}" * 100_000}, 400, "not valid JSON"),
    ("deep data", INFER, {"content": document(data=7).replace(b"7", b"[" * 900 + b"]" * 900)}, 400, "ragged data"),
    ("inputs no list", INFER, {"content": request(inputs={})}, 400, "'inputs' must be a list of tensors"),
    ("no inputs", INFER, {"content": request(inputs=[])}, 400, "'inputs' must be a list of tensors"),
    ("an input no object", INFER, {"content": request(inputs=[7])}, 400, "must be an object with a 'name'"),
    ("id no string", INFER, {"content": request(id=7)}, 400, "'id' must be a string"),
    ("parameters no object", INFER, {"content": request(parameters=[1])}, 400, "must be an object"),
    ("a sequence", INFER, {"content": request(parameters={"sequence_id": 1})}, 400, "sequences are not served"),
    ("a timeout in words", INFER, {"content": request(parameters={"timeout": "1s"})}, 400, "whole number of micro"),
    ("outputs no list", INFER, {"content": request(outputs={"name": "y"})}, 400, "'outputs' must be a list"),
    ("unknown output", INFER, {"content": request(outputs=[{"name": "z"}])}, 400, "unknown output 'z'"),
    (
        "a classification",
        INFER,
        {"content": request(outputs=[{"name": "y", "parameters": {"classification": 2}}])},
        400,
        "classification, which is not served",
    ),
    # A tensor
    ("wrong name", INFER, {"content": document(name="z")}, 400, "unknown input 'z'; the model takes 'x'"),
    ("no name", INFER, {"content": document(name=...)}, 400, "must be an object with a 'name'"),
    ("duplicated input", INFER, {"content": request(inputs=[GOOD, GOOD])}, 400, "input 'x' is given twice"),
    (
        "wrong datatype",
        INFER,
        {"content": document(datatype="INT64")},
        400,
        "expects FP32 of shape [-1, 3], got datatype",
    ),
    ("unknown datatype", INFER, {"content": document(datatype="FLOAT")}, 400, 'got datatype "FLOAT"'),
    ("no datatype", INFER, {"content": document(datatype=...)}, 400, "its 'datatype' must be the string"),
    ("wrong shape", INFER, {"content": document(shape=[1, 4])}, 400, "got shape [1, 4]"),
    ("wrong rank", INFER, {"content": document(shape=[3])}, 400, "got shape [3]"),
    ("negative shape", INFER, {"content": document(shape=[-1, 3])}, 400, "whole numbers from 0 up"),
    ("fractional shape", INFER, {"content": document(shape=[1.0, 3])}, 400, "whole numbers from 0 up"),
    ("huge shape", INFER, {"content": document(shape=[2**62, 3])}, 400, "needs 13835058055282163712 values, got 3"),
    ("too few values", INFER, {"content": document(data=[1, 2])}, 400, "of shape [1, 3] needs 3 values, got 2"),
    ("too many values", INFER, {"content": document(data=[1, 2, 3, 4])}, 400, "needs 3 values, got 4"),
    ("ragged data", INFER, {"content": document(shape=[2, 3], data=[[1, 2, 3], [4]])}, 400, "ragged data"),
    ("data no list", INFER, {"content": document(data="123")}, 400, "its 'data' must be a list"),
    ("no data", INFER, {"content": document(data=...)}, 400, "its 'data' must be a list"),
    ("text for numbers", INFER, {"content": document(data=["1", 2, 3])}, 400, "are numbers in JSON, got a string"),
    ("null for a number", INFER, {"content": document(data=[None, 2, 3])}, 400, "got null"),
    ("true for a number", INFER, {"content": document(data=[True, 2, 3])}, 400, "got true or false"),
    ("NaN", INFER, {"content": document(data=[float("nan"), 2, 3])}, 400, "input 'x' expects FP32 values"),
    ("Infinity", INFER, {"content": document(data=[float("inf"), 2, 3])}, 400, "got NaN, Infinity or a number out of"),
    ("out of range", INFER, {"content": document(data=[1e39, 2, 3])}, 400, "outside the range of FP32"),
    ("a huge number", INFER, {"content": document(data=[10**4000, 2, 3])}, 400, "outside the range of FP32"),
    (
        "a fraction for an integer",
        "/v2/models/identity_INT32/infer",
        {"content": document(datatype="INT32", data=[0.5, 1, 2])},
        400,
        "whole numbers in JSON, got a number with a fraction",
    ),
    (
        "an integer out of range",
        "/v2/models/identity_UINT8/infer",
        {"content": document(datatype="UINT8", data=[256, 1, 2])},
        400,
        "outside the range of UINT8",
    ),
    (
        "missing input",
        "/v2/models/several/infer",
        {"content": document(name="a", shape=[1, 2], data=[1, 2])},
        400,
        "missing",
    ),
    # Binary data
    ("byte count below the shape's", INFER, binary(RAW[:8], 8), 400, "needs 12 bytes, got 8"),
    ("byte count above the shape's", INFER, binary(RAW + b"1234", 16), 400, "needs 12 bytes, got 16"),
    ("truncated binary data", INFER, binary(RAW[:-1]), 400, "said to have 12 bytes of binary data, but 11 are left"),
    ("trailing bytes", INFER, binary(RAW + b"!"), 400, "the body holds 1 bytes more"),
    ("size in words", INFER, binary(RAW, "12"), 400, "must be a whole number of bytes"),
    ("negative size", INFER, binary(RAW, -12), 400, "must be a whole number of bytes"),
    ("header beyond the body", INFER, binary(RAW, header=10_000), 400, "says 10000 bytes, but the body has"),
    ("header within the JSON", INFER, binary(RAW, header=20), 400, "not valid JSON"),
    ("header beyond the JSON", INFER, binary(RAW, header=110), 400, "not valid JSON"),
    ("header in words", INFER, binary(RAW, header="all"), 400, "must be a whole number of bytes from 0 up, got 'all'"),
    ("negative header", INFER, binary(RAW, header="-1"), 400, "from 0 up, got '-1'"),
    ("huge header", INFER, binary(RAW, header="9" * 30), 400, "must be a whole number of bytes"),
    ("no header", INFER, {"content": document(data=..., parameters={"binary_data_size": 12})}, 400, "has no header"),
    (
        "both kinds of data",
        INFER,
        {"content": document(parameters={"binary_data_size": 12})},
        400,
        "has both 'data' and",
    ),
    (
        "a raw body of the wrong size",
        INFER,
        {"content": RAW + b"!", "headers": {"Inference-Header-Content-Length": "0"}},
        400,
        "of shape [1, 3] and datatype FP32 needs 12 bytes, got 13",
    ),
    (
        "a raw body for several inputs",
        "/v2/models/several/infer",
        {"content": RAW, "headers": {"Inference-Header-Content-Length": "0"}},
        400,
        "makes the body one input, but the model takes",
    ),
    (
        "BYTES cut off",
        "/v2/models/identity_BYTES/infer",
        binary(struct.pack("<I", 9) + b"ab", 6, datatype="BYTES", shape=[1]),
        400,
        "ends within element 0",
    ),
    (
        "BYTES of too few elements",
        "/v2/models/identity_BYTES/infer",
        binary(struct.pack("<I", 0), 4, datatype="BYTES", shape=[2]),
        400,
        "needs at least 8 bytes",
    ),
    (
        "BYTES that are no text",
        "/v2/models/identity_BYTES/infer",
        binary(b"\1\0\0\0\xff", 5, datatype="BYTES", shape=[1]),
        400,
        "not UTF-8",
    ),
    (
        "BOOL of 2",
        "/v2/models/identity_BOOL/infer",
        binary(b"\2", 1, datatype="BOOL", shape=[1]),
        400,
        "expects BOOL bytes, which are 0 or 1",
    ),
    # Names
    (
        "unknown model",
        "/v2/models/nobody/infer",
        {"content": document()},
        404,
        "unknown model 'nobody'; this server serves",
    ),
    ("unknown version", "/v2/models/double/versions/9/infer", {"content": document()}, 404, "no version '9'"),
    ("unknown model, v1", "/v1/models/nobody:predict", {"content": b"{}"}, 404, "unknown model 'nobody'"),
    (
        "unknown path",
        "/v2/models/double/infers",
        {"content": document()},
        404,
        "there is no /v2/models/double/infers here",
    ),
    # Size and encoding
    (
        "over-long body",
        INFER,
        {"content": bytes(REQUEST_BYTES + 1)},
        413,
        "may have at most 8388608 bytes, got 8388609",
    ),
    ("over-long chunks", INFER, {"content": chunks(REQUEST_BYTES + (1 << 20))}, 413, "may have at most 8388608 bytes"),
    ("unknown encoding", INFER, encoded("br", document()), 415, "the content encoding 'br' is not served here"),
    ("two encodings", INFER, encoded("gzip, gzip", gzip.compress(document())), 415, "is not served here"),
    (
        "two lines of encodings",
        INFER,
        {"content": gzip.compress(document()), "headers": [("content-encoding", "gzip")] * 2},
        415,
        "'gzip, gzip' is not served here",
    ),
    (
        "two lengths of the JSON",
        INFER,
        {"content": document(), "headers": [("Inference-Header-Content-Length", length) for length in ("83", "84")]},
        400,
        "the header Inference-Header-Content-Length is there 2 times; send it once",
    ),
    (
        "gzip and more",
        INFER,
        encoded("gzip", gzip.compress(document()) + b"!"),
        400,
        "goes on after the end of its gzip",
    ),
    (
        "gzip bomb of several members",
        INFER,
        encoded("gzip", 9 * gzip.compress(bytes(REQUEST_BYTES // 8))),
        413,
        "at most 8388608 bytes, also when it is inflated",
    ),
    ("gzip that is none", INFER, encoded("gzip", document()), 400, "is not gzip data, as its content encoding says"),
    ("gzip cut off", INFER, encoded("gzip", gzip.compress(document())[:-9]), 400, "ends before its gzip data does"),
    ("deflate that is none", INFER, encoded("deflate", document()), 400, "is not deflate data"),
    ("gzip bomb", INFER, encoded("gzip", bomb("gzip")), 413, "at most 8388608 bytes, also when it is inflated"),
    ("deflate bomb", INFER, encoded("deflate", bomb("deflate")), 413, "also when it is inflated"),
    # Rows
    (
        "no instances",
        "/v1/models/double:predict",
        {"content": b"{}"},
        400,
        "'instances' must be a list of at least one row",
    ),
    (
        "NaN in a row",
        "/v1/models/double:predict",
        {"content": b'{"instances": [[NaN, 1, 2]]}'},
        400,
        "input 'x' expects",
    ),
    ("a short row", "/v1/models/double:predict", {"content": b'{"instances": [[1, 2]]}'}, 400, "got shape [1, 2]"),
    ("unequal rows", "/v1/models/double:predict", {"content": b'{"instances": [[1,2,3],[1]]}'}, 400, "ragged data"),
    (
        "rows by position",
        "/v1/models/several:predict",
        {"content": b'{"instances": [[1]]}'},
        400,
        "as an object by input",
    ),
    ("rows as binary data", "/v1/models/double:predict", binary(RAW), 400, "rows are sent as JSON"),
]


def still_serves(server: Any) -> None:
    answer = server.client.post(INFER, content=document())
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == [1, 4, 9]


def is_one_sentence(answer: httpx.Response, words: str) -> None:
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert words in error
    assert "\n" not in error
    assert "Traceback" not in error
    assert len(error) <= 2001


@pytest.mark.parametrize(
    ("path", "arguments", "status", "words"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_malformed_requests(server: Any, path: str, arguments: dict[str, Any], status: int, words: str) -> None:
    started = time.monotonic()
    answer = server.client.post(path, **arguments)
    assert answer.status_code == status, answer.text
    assert time.monotonic() - started < 5
    is_one_sentence(answer, words)
    still_serves(server)


def raw(server: Any, sent: bytes, *, end: bool = False) -> bytes:
    """What comes back on a connection of its own: one answer, or what there is when the server closes it."""
    with socket.create_connection((httpx.URL(server.url).host, httpx.URL(server.url).port or 0), timeout=20) as near:
        near.sendall(sent)
        if end:
            near.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            part = near.recv(1 << 16)
            if not part:
                break
            answer += part
        return answer


def in_chunks(*lines: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        INFER.encode(),
        b"\r\n".join(lines),
        len(document()),
        document(),
    )


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (
            in_chunks(b"Transfer-Encoding: gzip, chunked"),
            400,
            "the transfer encoding 'gzip, chunked' is not served here",
        ),
        (
            in_chunks(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
            400,
            "'gzip, chunked' is not served here",
        ),
        (in_chunks(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400, ""),
        (in_chunks(b"Transfer-Encoding: gzip"), 400, "not valid HTTP"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (200_000 * b"a"), 431, "may have at most 65536 bytes"),
        (b"hello\r\n\r\n", 400, "not valid HTTP"),
        (b"POST / HTTP/9.9\r\n\r\n", 400, "not valid HTTP"),
        (b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n" % INFER.encode(), 400, "not valid HTTP"),
        (b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n" % INFER.encode(), 400, "not valid HTTP"),
        (
            b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % INFER.encode(),
            400,
            "not valid HTTP",
        ),
        (
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            % INFER.encode(),
            400,
            "not valid HTTP",
        ),
        (
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n" % INFER.encode(),
            413,
            "may have at most 8388608 bytes, got 1000000000000",
        ),
        (
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nx-request-timeout: 0.2\r\n\r\n{" % INFER.encode(),
            408,
            "did not arrive within the request's deadline",
        ),
    ],
)
def test_malformed_http(server: Any, sent: bytes, status: int, words: str) -> None:
    answer = raw(server, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower()
    document = json.loads(body)
    assert list(document) == ["error"]
    assert words in document["error"]
    still_serves(server)


@pytest.mark.parametrize("cut", [1, 10, 60, 120])
def test_a_client_that_leaves_within_its_body(server: Any, cut: int) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(document()))
    raw(server, (head + document())[: len(head) + cut - 70], end=True)
    still_serves(server)


@pytest.mark.parametrize("parameters", [{}, {"timeout": 9_000_000}], ids=["the hot path", "the general path"])
def test_a_client_that_leaves_while_it_waits(server: Any, parameters: dict[str, Any]) -> None:
    def work(rounds: int) -> bytes:
        tensor = {"name": "rounds", "shape": [1], "datatype": "INT64", "data": [rounds]}
        body = json.dumps({"inputs": [tensor]} | ({"parameters": parameters} if parameters else {})).encode()
        return b"POST /v2/models/work/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline

    def left() -> float:
        with suppress(AssertionError):
            return float(server.metric("haldane_requests_total", model="work", code="499"))
        return 0.0

    address = (httpx.URL(server.url).host, httpx.URL(server.url).port or 0)
    long = server.rounds_for(1.0, "work")
    # However quick a run was: the same few bytes may mean a long one, which must not hold up the event loop.
    for _ in range(3):
        raw(server, work(1))
    runs = server.metric("haldane_inference_seconds_count", model="work")
    before = left()
    with socket.create_connection(address, timeout=20) as running:
        running.sendall(work(long))
        with socket.create_connection(address, timeout=20) as waiting:
            waiting.sendall(work(1))
            until(lambda: server.metric("haldane_queue_requests", model="work") == 1)
        until(lambda: left() == before + 1)
        assert running.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert server.metric("haldane_inference_seconds_count", model="work") == runs + 1
