"""gRPC's length-prefixed messages and their compression. Pure."""

import zlib
from collections.abc import Sequence

from haldane_runtime.core.errors import Code, RequestError, invalid
from haldane_runtime.protocol.grpc.headers import IDENTITY
from haldane_runtime.protocol.grpc.status import Status, Unserved

PREFIX_BYTES = 5

# zlib's window bits: gRPC's "deflate" is the zlib format, not bare deflate.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
ACCEPTED = ",".join((IDENTITY, *_WINDOW_BITS)).encode()

# Answers are numbers, which higher levels hardly make smaller.
_LEVEL = 1
# From this size on, compressed or not, the work is worth a thread, in which zlib lets the event loop run.
THREAD_BYTES = 64 << 10
# A smaller message is not worth the time.
_SMALLEST_COMPRESSED = 1024


def declared_size(buffer: bytes | bytearray | memoryview) -> int:
    """The length in bytes that a message's prefix tells."""
    return int.from_bytes(buffer[1:PREFIX_BYTES], "big")


def require_size(size: int, limit: int) -> None:
    """Raises: RequestError: TOO_LARGE."""
    if size > limit:
        raise RequestError(Code.TOO_LARGE, f"the message has {size} bytes, but at most {limit} are taken here")


def unpacked(compressed: int, payload: bytes | memoryview, encoding: str, limit: int) -> bytes | memoryview:
    """The message whose prefix had this flag; at most `limit` bytes.

    Raises:
        RequestError: INVALID, TOO_LARGE.
        Unserved: UNIMPLEMENTED, for an encoding that is not known here.
    """
    if not compressed:
        return payload
    if compressed != 1:
        raise invalid(f"a message's first byte must be 0 or 1, got {compressed}")
    if encoding == IDENTITY:
        raise invalid("a message is marked as compressed, but the call names no grpc-encoding")
    require_known(encoding)
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        message = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise invalid(f"a message is not valid {encoding}: {error}") from None
    if len(message) > limit:
        raise RequestError(Code.TOO_LARGE, f"the message inflates to more than the {limit} bytes that are taken here")
    if not inflater.eof or inflater.unused_data:
        raise invalid(f"a message is not valid {encoding}: its end is not where the message ends")
    return message


def require_known(encoding: str) -> None:
    """Raises: Unserved: UNIMPLEMENTED."""
    if encoding != IDENTITY and encoding not in _WINDOW_BITS:
        raise Unserved(
            Status.UNIMPLEMENTED, f"the encoding '{encoding}' is not known here; use one of {ACCEPTED.decode()}"
        )


def packed(parts: Sequence[bytes | memoryview], encoding: str) -> bytes:
    """One prefixed message of these parts, compressed in that encoding if it is worth it."""
    size = sum(map(len, parts))
    if encoding == IDENTITY or size < _SMALLEST_COMPRESSED:
        return b"".join((b"\0", size.to_bytes(4, "big"), *parts))
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    payload = b"".join((*map(deflater.compress, parts), deflater.flush()))
    return b"\1" + len(payload).to_bytes(4, "big") + payload
