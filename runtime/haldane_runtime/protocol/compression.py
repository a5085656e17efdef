"""Content codings of bodies: gzip, and deflate as HTTP means it (a zlib stream). No I/O.

A request is inflated as it arrives, in pieces, and never past its limit: a bomb costs what the limit
allows and no more.

An answer is compressed when the client names exactly one coding, as a client does that was told to
compress. The list that HTTP libraries send by themselves (`gzip, deflate, br`) only says what they
could read; taking it for a wish would cost each of their requests more time than the network of a
data centre does.
"""

import asyncio
import zlib
from collections.abc import Iterator, Mapping

from haldane_runtime.core.errors import Code, RequestError, invalid

_WINDOW_BITS: Mapping[str, int] = {"gzip": 31, "deflate": 15}
CODINGS = tuple(_WINDOW_BITS)
# RFC 9110 has them mean the same.
_ALIASES: Mapping[str, str] = {"x-gzip": "gzip"}
_GZIP_START = b"\x1f"
# A new member costs some microseconds, however little is in it.
MOST_MEMBERS = 10_000
# Inflating this much takes about a millisecond, for which other requests may wait.
PIECE_BYTES = 256 << 10

WORTH_BYTES = 512
# From here on the compression goes to a thread, which zlib lets run beside the event loop.
THREAD_BYTES = 128 << 10
# Numbers hardly shrink further at higher levels, which take seven times as long.
LEVEL = 1


class Inflater:
    """One request's body, of one coding, to at most `limit` bytes; gzip may have several members, one after another."""

    def __init__(self, coding: str, limit: int) -> None:
        """Raises: RequestError: UNSUPPORTED_ENCODING, for a coding other than gzip and deflate."""
        coding = _ALIASES.get(coding, coding)
        if coding not in _WINDOW_BITS:
            raise RequestError(
                Code.UNSUPPORTED_ENCODING,
                f"the content encoding '{coding}' is not served here; send the body as it is, or as gzip or deflate",
            )
        self._coding = coding
        self._limit = limit
        self._left = limit
        self._members = 0
        self._stream = self._next_member()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The inflated bytes of one chunk, in pieces of at most PIECE_BYTES.

        Raises:
            RequestError: TOO_LARGE as soon as the limit is passed, INVALID for what is no such stream.
        """
        full = bool(data)
        while data or full:
            if self._stream.eof:
                if self._coding != "gzip" or not data.startswith(_GZIP_START):
                    raise invalid(f"the request body goes on after the end of its {self._coding} data")
                self._stream = self._next_member()
            room = min(PIECE_BYTES, self._left + 1)
            try:
                piece = self._stream.decompress(data, room)
            except zlib.error as error:
                raise invalid(
                    f"the request body is not {self._coding} data, as its content encoding says: {error}"
                ) from None
            self._left -= len(piece)
            if self._left < 0:
                raise RequestError(
                    Code.TOO_LARGE, f"the request body may have at most {self._limit} bytes, also when it is inflated"
                )
            yield piece
            data = self._stream.unconsumed_tail or self._stream.unused_data
            # With its input used up, the stream may still hold what did not fit into a full piece.
            full = len(piece) == room and not self._stream.eof

    def _next_member(self) -> "zlib._Decompress":
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise invalid(f"the request body may have at most {MOST_MEMBERS} members of gzip; compress it in one")
        return zlib.decompressobj(_WINDOW_BITS[self._coding])

    def finish(self) -> None:
        """Raises: RequestError: INVALID, when the stream has not come to its end."""
        if not self._stream.eof:
            raise invalid(f"the request body ends before its {self._coding} data does")


def wanted_coding(accept: str | None) -> str | None:
    """gzip, deflate or None: what to compress an answer with, by the request's Accept-Encoding."""
    if not accept:
        return None
    named = []
    for part in accept.lower().split(","):
        coding, _, quality = part.partition(";")
        coding = coding.strip()
        if coding not in ("", "*", "identity") and quality.replace(" ", "") not in (
            "q=0",
            "q=0.0",
            "q=0.00",
            "q=0.000",
        ):
            named.append(coding)
    return named[0] if len(named) == 1 and named[0] in _WINDOW_BITS else None


async def compressed(body: bytes, accept: str | None) -> tuple[bytes, str | None]:
    """The body, compressed if that was asked for and is worth it, and the coding, if any."""
    coding = wanted_coding(accept)
    if coding is None or len(body) < WORTH_BYTES:
        return body, None
    if len(body) < THREAD_BYTES:
        return deflate(body, coding), coding
    return await asyncio.to_thread(deflate, body, coding), coding


def deflate(body: bytes, coding: str) -> bytes:
    """All of `body` as one stream of that coding."""
    return zlib.compress(body, LEVEL, _WINDOW_BITS[coding])
