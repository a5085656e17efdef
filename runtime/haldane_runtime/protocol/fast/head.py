"""Request heads, remembered: a client sends the same bytes again and again on its connection.

A head that was seen before costs one dictionary look-up. One that was not is parsed by httptools,
the parser that the general path uses, so that both read it alike.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from haldane_runtime.protocol.compression import wanted_coding

_ROUTE = re.compile(
    r"/v2/models/(?P<model>[^/?#]+)(/versions/(?P<version>[^/?#]+))?/infer"
    r"|/v1/(?P<predict>predict|models/(?P<predicted>[^/?#:]+):predict)"
)
# With one of these a request is out of the ordinary. Other headers do not change what these routes answer.
_EXTRAORDINARY = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade"})
# Values of one request only: a head with one of these never comes again.
_PASSING = frozenset({"x-request-id", "traceparent", "x-amzn-trace-id", "x-cloud-trace-context", "x-b3-traceid", "b3"})
_METHOD = re.compile(rb"[A-Z]{1,20}($| )")
_MAX_BYTES = 2048
_MAX_HEADS = 256
_LIGHT_BYTES = 1 << 19
_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)


class Head(NamedTuple):
    """What the hot path needs of a request's head.

    `model` is None for `/v1/predict`. `length` is the body's size in bytes, `json_length` the value
    of Inference-Header-Content-Length, `timeout` the client's own limit in seconds.
    """

    model: str | None
    version: str | None
    predict: bool
    length: int
    json_length: int | None
    timeout: float | None
    request_id: str | None
    is_light: bool = True
    """False for JSON so long that reading it takes milliseconds, which other requests must not wait for."""


class Heads:
    """Finds the head of a request and what it says."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head | None] = {}

    def read(self, data: bytes) -> tuple[int, Head | None]:
        """Where the body starts, 0 as long as the head is not complete; and the head, None for the general path."""
        end = data.find(_END)
        if end < 0:
            return 0, None
        if end > _MAX_BYTES:
            return end + len(_END), None
        end += len(_END)
        raw = data[:end]
        known = self._known
        try:
            return end, known[raw]
        except KeyError:
            head, lasting = parse(raw)
        if lasting:
            if len(known) >= _MAX_HEADS:
                known.clear()
            known[raw] = head
        return end, head


def parse(raw: bytes) -> tuple[Head | None, bool]:
    """The head that these bytes are, and whether it is worth remembering.

    None when they are not a plain inference request.
    """
    reader = _Reader()
    head = _parse(raw, reader)
    return head, not _PASSING & reader.headers.keys()


def _parse(raw: bytes, reader: "_Reader") -> Head | None:
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    route = _ROUTE.fullmatch(reader.url.decode("latin-1"))
    plain = (
        reader.complete
        and parser.get_method() == b"POST"
        and parser.get_http_version() == "1.1"
        and parser.should_keep_alive()
        and not _EXTRAORDINARY & reader.headers.keys()
        and not reader.repeated
        and wanted_coding(reader.headers.get("accept-encoding")) is None
    )
    if route is None or not plain:
        return None
    length, json_length = (
        _count(reader.headers.get(name)) for name in ("content-length", "inference-header-content-length")
    )
    if (
        length is None
        or json_length == 0
        or (json_length is None and "inference-header-content-length" in reader.headers)
    ):
        return None
    timeout = _seconds(reader.headers.get("x-request-timeout"))
    if timeout is None and "x-request-timeout" in reader.headers:
        return None
    model = route["model"] or route["predicted"]
    return Head(
        unquote(model) if model else None,
        unquote(route["version"]) if route["version"] else None,
        route["predict"] is not None,
        length,
        json_length,
        timeout,
        reader.headers.get("x-request-id"),
        length <= _LIGHT_BYTES or json_length is not None,
    )


def looks_like_http(data: bytes) -> bool:
    """True when this can be the start of a request; anything else need not be waited for."""
    return _METHOD.match(data) is not None


def ignoring_upgrade(data: bytes) -> bytes:
    """The request at the start of `data` without its offer to go on in another protocol, which nobody here takes.

    httptools takes the body for that other protocol and drops it, yet Java's client and curl offer HTTP/2
    with an ordinary request.
    """
    end = data.find(_END)
    if end < 0 or not _UPGRADE.search(data, 0, end):
        return data
    return _UPGRADE.sub(b"\r\nx-upgrade-ignored:", data[:end]) + data[end:]


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.repeated = False
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self.repeated = self.repeated or key in self.headers
        self.headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.complete = True


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 16 else None


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value) if value is not None else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
