"""What a gRPC request's header fields say, and the header blocks of answers. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from haldane_runtime.protocol.grpc.hpack import Field, Fields, HeaderBlock

# Fields that change from call to call; without them the fields of a client's calls are one and the same tuple.
_VARYING = frozenset({b"grpc-timeout", b"traceparent", b"tracestate", b"x-request-id"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_A_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_FORBIDDEN_IN_VALUE = re.compile(rb"[\0\r\n]").search
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])").fullmatch
_GRPC = re.compile(rb"application/grpc(\+proto)?\s*(;.*)?", re.IGNORECASE).fullmatch

IDENTITY = "identity"

# The usual limit of a client's header list is 8 KiB.
_MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RequestHead:
    """`fault` says why the request is malformed by HTTP/2 itself, in which case nothing else holds."""

    method: bytes = b""
    path: bytes = b""
    grpc: bool = False
    """Whether it is a gRPC call at all, with protobuf for its messages."""
    encoding: str = IDENTITY
    accepts: frozenset[str] = frozenset()
    content_length: int | None = None
    fault: str = ""
    too_long: bool = False
    """Whether there were more fields than are taken, so that nothing else is known."""


@dataclass(frozen=True, slots=True)
class Received:
    """A header block: its fields, and what they say if they begin a request.

    `varying` are the call's own fields; `timeout` is what the client allows, in seconds, NaN when that is malformed.
    """

    fields: Fields
    head: RequestHead
    varying: Mapping[bytes, bytes]
    timeout: float | None


_NONE: Mapping[bytes, bytes] = {}
TOO_LONG = Received((), RequestHead(too_long=True), _NONE, None)


def received(fields: Fields) -> Received:
    """The fields that change from call to call are taken out before the others are read."""
    for name, _ in fields:
        if name in _VARYING:
            own = {name: value for name, value in fields if name in _VARYING}
            head = read_head(tuple(field for field in fields if field[0] not in _VARYING))
            return Received(fields, head, own, parse_timeout(own.get(b"grpc-timeout")))
    return Received(fields, read_head(fields), _NONE, None)


@lru_cache(maxsize=512)
def read_head(fields: Fields) -> RequestHead:
    """A request's head; its fault is RFC 9113, section 8.2 and 8.3."""
    values: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if fault := _field_fault(name, value, regular or name in values):
            return RequestHead(fault=fault)
        regular = regular or not name.startswith(b":")
        # A repeated field is one list.
        values[name] = values[name] + b"," + value if name in values else value
    if not values.get(b":method") or not values.get(b":scheme") or not values.get(b":path"):
        return RequestHead(fault="a request needs one :method, one :scheme and a :path")
    length = values.get(b"content-length")
    if length is not None and not length.isdigit():
        return RequestHead(fault="content-length is not a number")
    return RequestHead(
        method=values[b":method"],
        path=values[b":path"],
        grpc=values[b":method"] == b"POST" and bool(_GRPC(values.get(b"content-type", b""))),
        encoding=values.get(b"grpc-encoding", b"identity").decode("latin-1"),
        accepts=frozenset(values.get(b"grpc-accept-encoding", b"").decode("latin-1").replace(" ", "").split(",")),
        content_length=None if length is None else int(length),
    )


def _field_fault(name: bytes, value: bytes, late: bool) -> str:
    """What is wrong with the field; `late` says that a pseudo-header field may not stand here."""
    if name.startswith(b":"):
        if name not in _PSEUDO:
            return "an unknown pseudo-header field"
        if late:
            return "a pseudo-header field that is repeated or follows another field"
    elif not _NAME(name):
        return "a field name that is not lower case or holds a forbidden character"
    elif name in _OF_A_CONNECTION:
        return "a field that belongs to a connection of HTTP/1.1"
    elif name == b"te" and value != b"trailers":
        return "a te other than trailers"
    if _FORBIDDEN_IN_VALUE(value):
        return "a field value that holds a forbidden character"
    return ""


def trailers_fault(fields: Fields) -> str:
    """What is wrong with a request's trailer fields; empty when nothing is."""
    for name, value in fields:
        if name.startswith(b":"):
            return "a pseudo-header field in trailers"
        if fault := _field_fault(name, value, True):
            return fault
    return ""


def parse_timeout(value: bytes | None) -> float | None:
    """`grpc-timeout` in seconds: up to eight digits and a unit. NaN when it is malformed, None when there is none."""
    if value is None:
        return None
    found = _TIMEOUT(value)
    return int(found[1]) * _SECONDS[found[2]] if found else math.nan


def percent_encoded(message: str) -> bytes:
    """`grpc-message` as the gRPC protocol wants it: UTF-8, all but printable ASCII escaped, and the percent sign too.

    Cut off where it would no longer fit the header lists that clients take.
    """
    parts: list[bytes] = []
    size = 0
    for character in message:
        part = b"".join(
            b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
            for byte in character.encode("utf-8", "replace")
        )
        size += len(part)
        if size > _MESSAGE_BYTES:
            break
        parts.append(part)
    return b"".join(parts)


def metadata_value(text: str) -> bytes:
    """Printable ASCII, as a value of gRPC's metadata must be."""
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode()


def answer_block(encoding: str, accepted: bytes, metadata: Fields = ()) -> HeaderBlock:
    """The header block of a gRPC answer that will carry messages in `encoding`."""
    fields: list[Field] = [(b":status", b"200"), (b"content-type", b"application/grpc")]
    if encoding != IDENTITY:
        fields.append((b"grpc-encoding", encoding.encode()))
    return HeaderBlock(*fields, (b"grpc-accept-encoding", accepted), *metadata)


def trailers_block(status: int, message: str = "", metadata: Fields = (), *, only: bool = False) -> HeaderBlock:
    """The trailers of an answer; with `only`, they are all of it. Metadata values must be printable ASCII."""
    begin = [(b":status", b"200"), (b"content-type", b"application/grpc")] if only else []
    told = [(b"grpc-message", percent_encoded(message))] if message else []
    return HeaderBlock(*begin, (b"grpc-status", b"%d" % status), *told, *metadata)
