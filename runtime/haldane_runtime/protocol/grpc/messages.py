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
# From this size on, before or after, the work is worth a thread, in which zlib lets the event loop run.
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


class Inflation:
    """A compressed message, which may become a thousand times as long: at first no more of it than is asked for."""

    __slots__ = ("_begun", "_encoding", "_inflater", "_limit", "_rest")

    def __init__(self, compressed: int, payload: bytes | memoryview, encoding: str, limit: int) -> None:
        """For the message whose prefix had this flag, which is not 0; at most `limit` bytes of it.

        Raises:
            RequestError: INVALID.
            Unserved: UNIMPLEMENTED, for an encoding that is not known here.
        """
        if compressed != 1:
            raise invalid(f"a message's first byte must be 0 or 1, got {compressed}")
        if encoding == IDENTITY:
            raise invalid("a message is marked as compressed, but the call names no grpc-encoding")
        require_known(encoding)
        self._encoding = encoding
        self._limit = limit
        self._inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._rest = payload
        self._begun = b""

    def begin(self, size: int) -> bytes | None:
        """The message if it shows within so many bytes that it is complete; else None, and the rest is for `finish`.

        Raises:
            RequestError: INVALID, TOO_LARGE.
        """
        self._begun = self._inflate(min(size, self._limit + 1))
        self._rest = self._inflater.unconsumed_tail
        # Short of the size, all that came was used: there is no more of it, complete or not.
        if self._inflater.eof or len(self._begun) < size:
            return self.finish()
        return None

    def finish(self) -> bytes:
        """The whole message. Raises: RequestError: INVALID, TOO_LARGE."""
        message, limit = self._begun, self._limit
        if not self._inflater.eof and len(message) <= limit:
            # Unlike a sum, a join of long bytes lets other threads run.
            message = b"".join((message, self._inflate(limit + 1 - len(message))))
        if len(message) > limit:
            raise RequestError(
                Code.TOO_LARGE, f"the message inflates to more than the {limit} bytes that are taken here"
            )
        if not self._inflater.eof or self._inflater.unused_data:
            raise invalid(f"a message is not valid {self._encoding}: its end is not where the message ends")
        return message

    def _inflate(self, size: int) -> bytes:
        try:
            return self._inflater.decompress(self._rest, size)
        except zlib.error as error:
            raise invalid(f"a message is not valid {self._encoding}: {error}") from None


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
