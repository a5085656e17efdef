"""Bytes to whole frames: the preface, lengths, and header blocks put together from CONTINUATION frames. Pure."""

from collections.abc import Iterator

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode
from haldane_runtime.protocol.grpc.limits import Limits

Frame = tuple[int, int, int, bytes | memoryview]
"""Type, flags, stream and payload. HEADERS bring a whole block, without padding and priority; CONTINUATION never comes."""

_HTTP1_METHODS = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC")

_LONG_BYTES = 4096


class NotHttp2(Exception):
    """The client speaks HTTP/1, and may be told so in a way that it understands."""


class FrameReader:
    """What is held between reads is at most one frame and one header block."""

    __slots__ = ("_flags", "_limits", "_parts", "_rest", "_stream", "started")

    def __init__(self, limits: Limits) -> None:
        self.started = False
        """True once the client's preface and the head of its SETTINGS have come."""
        self._limits = limits
        self._rest = b""
        self._stream: int | None = None
        """The stream whose header block is not complete, with the flags of its HEADERS and its parts so far."""
        self._flags = 0
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes; the iterator must be exhausted. Long DATA payloads share its memory.

        Raises:
            ConnectionFault: when what came cannot be frames of a client.
            NotHttp2: when it is a request of HTTP/1.
        """
        at = 0
        if self._rest:
            if not self.started:
                data = self._rest + data
            else:
                # Only what completes the frame is copied.
                at = self._missing(data)
                first, self._rest = self._rest + data[:at], b""
                yield from self._frames(first, 0)
                if self._rest:
                    return
        if not self.started:
            if not _begins(data):
                self._rest = data
                return
            self.started = True
            at = len(frames.PREFACE)
        yield from self._frames(data, at)

    def _missing(self, data: bytes) -> int:
        """How many bytes of `data` belong to the frame that has begun, as far as its head tells."""
        rest = self._rest
        head = rest + data[: max(0, frames.HEADER_BYTES - len(rest))]
        if len(head) < frames.HEADER_BYTES:
            return len(data)
        return min(len(data), frames.HEADER_BYTES + int.from_bytes(head[:3], "big") - len(rest))

    def _frames(self, data: bytes, at: int) -> Iterator[Frame]:
        end = len(data)
        largest = self._limits.max_frame
        while end - at >= frames.HEADER_BYTES:
            high, low, kind, flags, number = frames.unpack_header(data, at)
            size = high << 8 | low
            if size > largest:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes, more than {largest}")
            start = at + frames.HEADER_BYTES
            if start + size > end:
                break
            at = start + size
            if kind == frames.DATA and self._stream is None:
                payload = data[start:at] if size < _LONG_BYTES else memoryview(data)[start:at]
                yield kind, flags, number & frames.MAX_STREAM_ID, payload
            else:
                yield from self._other(kind, flags, number & frames.MAX_STREAM_ID, data[start:at])
        self._rest = data[at:]

    def _other(self, kind: int, flags: int, number: int, payload: bytes) -> tuple[Frame, ...]:
        """The frame, unless it is part of a header block that goes on."""
        if self._stream is not None:
            if kind != frames.CONTINUATION or number != self._stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block must not be interrupted")
            self._parts.append(payload)
            if len(self._parts) > self._limits.continuations or sum(map(len, self._parts)) > self._limits.header_block:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long or in too many frames")
            if not flags & frames.END_HEADERS:
                return ()
            self._stream = None
            return ((frames.HEADERS, self._flags, number, b"".join(self._parts)),)
        if kind == frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block to continue")
        if kind == frames.HEADERS:
            if flags & (frames.PADDED | frames.WITH_PRIORITY):
                payload = frames.without_padding(flags, payload)
            if not flags & frames.END_HEADERS:
                self._stream, self._flags, self._parts = number, flags, [payload]
                return ()
        return ((kind, flags, number, payload),)


def _begins(data: bytes) -> bool:
    """True when the preface is there, and SETTINGS after it; False while that cannot be known."""
    wanted = frames.PREFACE
    if data[: len(wanted)] != wanted[: len(data)]:
        if data.startswith(_HTTP1_METHODS):
            raise NotHttp2
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks gRPC over HTTP/2 without TLS")
    at = len(wanted)
    if len(data) < at + frames.HEADER_BYTES:
        return False
    if data[at + 3] != frames.SETTINGS or data[at + 4] & frames.ACK:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
    return True
