"""What goes out: frames within the peer's windows, and what waits for them."""

from collections import deque
from collections.abc import Callable

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode, Setting, StreamFault
from haldane_runtime.protocol.grpc.hpack import HeaderBlock, HeaderEncoder
from haldane_runtime.protocol.grpc.stream import Stream

_END_HEADERS = frames.END_HEADERS
_END_BOTH = frames.END_HEADERS | frames.END_STREAM


class Sender:
    """Appends frames to `out`. `wake` is called when there is something new, `finished` after a stream's last frame.

    Every stream's answer is complete once `trailers` was given; header blocks must fit one frame of the smallest legal size.
    """

    def __init__(
        self, out: list[bytes | memoryview], wake: Callable[[], None], finished: Callable[[Stream], None]
    ) -> None:
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.SMALLEST_MAX_FRAME
        self.encoder = HeaderEncoder()
        self.blocked: dict[int, Stream] = {}
        self.waiting = 0
        """Bytes of answers that the windows do not let out yet."""
        self.data_frames = 0
        self.bulky = False
        """Whether there are large pieces in `out`, which are better not copied once more."""
        self._out = out
        self._wake = wake
        self._finished = finished

    def respond(self, stream: Stream, head: HeaderBlock, data: bytes, trailers: HeaderBlock) -> None:
        """A whole answer. What fits the windows leaves as one piece."""
        size = len(data)
        if size > self.max_frame or size > self.window or size > stream.send_window or self.blocked:
            self.headers(stream, head)
            self.data(stream, data)
            self.trailers(stream, trailers)
            return
        self.window -= size
        self.data_frames += 1
        number = stream.id
        pack = frames.pack_header
        out = self._out
        first, last = self.encoder.encode(head), self.encoder.encode(trailers)
        out += (
            pack(len(first) >> 8, len(first) & 0xFF, frames.HEADERS, _END_HEADERS, number),
            first,
            pack(size >> 8, size & 0xFF, frames.DATA, 0, number),
            data,
            pack(len(last) >> 8, len(last) & 0xFF, frames.HEADERS, _END_BOTH, number),
            last,
        )
        self._finished(stream)
        self._wake()

    def headers(self, stream: Stream, block: HeaderBlock) -> None:
        """The beginning of an answer that comes in parts."""
        self._out.append(frames.frame(frames.HEADERS, _END_HEADERS, stream.id, self.encoder.literal(block)))
        self._wake()

    def data(self, stream: Stream, data: bytes) -> None:
        """A part of the body, at once as far as the windows allow."""
        if stream.pending is None:
            stream.pending = deque()
        stream.pending.append(memoryview(data))
        self.waiting += len(data)
        self._send(stream)
        self._wake()

    def trailers(self, stream: Stream, block: HeaderBlock | None) -> None:
        """The end of the answer, after all data; None when it has no trailers."""
        stream.complete, stream.trailers = True, block
        self._send(stream)
        self._wake()

    def grow(self, stream: Stream | None, increment: int) -> None:
        """A WINDOW_UPDATE of the peer's, for a stream or, without one, for the connection.

        Raises:
            ConnectionFault, StreamFault: when the window grows over its limit.
        """
        if stream is None:
            if self.window + increment > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window grew over 2^31-1")
            self.window += increment
            self._unblock()
            return
        if stream.send_window + increment > frames.MAX_WINDOW:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window grew over 2^31-1")
        stream.send_window += increment
        if stream.id in self.blocked:
            self._send(stream)

    def obey(self, settings: bytes, streams: list[Stream]) -> None:
        """The payload of the peer's SETTINGS. Raises: ConnectionFault: when a value is not allowed."""
        for setting, value in frames.parse_settings(settings):
            if setting == Setting.INITIAL_WINDOW_SIZE:
                self._resize(streams, value)
            elif setting == Setting.HEADER_TABLE_SIZE:
                self.encoder.resize(value)
            elif setting == Setting.MAX_FRAME_SIZE:
                if not frames.SMALLEST_MAX_FRAME <= value <= frames.LARGEST_MAX_FRAME:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of its range")
                self.max_frame = value
            elif setting == Setting.ENABLE_PUSH and value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH must be 0 or 1")

    def _resize(self, streams: list[Stream], initial: int) -> None:
        """A new initial window moves the windows of open streams by the difference."""
        if initial > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is over 2^31-1")
        difference = initial - self.initial_window
        self.initial_window = initial
        for stream in streams:
            stream.send_window += difference
            if stream.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window grew over 2^31-1")
        self._unblock()

    def forget(self, stream: Stream) -> None:
        """Drop what waits: the stream was reset."""
        self.waiting -= sum(map(len, stream.pending or ()))
        stream.pending = None
        self.blocked.pop(stream.id, None)

    def _unblock(self) -> None:
        for stream in list(self.blocked.values()):
            self._send(stream)

    def _send(self, stream: Stream) -> None:
        pending = stream.pending
        while pending:
            size = min(len(pending[0]), self.max_frame, self.window, stream.send_window)
            if size <= 0 and len(pending[0]):
                self.blocked[stream.id] = stream
                return
            piece = pending[0][:size]
            if size == len(pending[0]):
                pending.popleft()
            else:
                pending[0] = pending[0][size:]
            self.window -= size
            self.waiting -= size
            stream.send_window -= size
            stream.blocked_since = None
            self.data_frames += 1
            self._out.append(frames.pack_header(size >> 8, size & 0xFF, frames.DATA, 0, stream.id))
            self._out.append(piece)
            self.bulky = True
        self.blocked.pop(stream.id, None)
        if stream.complete:
            if stream.trailers is None:
                self._out.append(frames.frame(frames.DATA, frames.END_STREAM, stream.id))
            else:
                block = self.encoder.literal(stream.trailers)
                self._out.append(frames.frame(frames.HEADERS, _END_BOTH, stream.id, block))
            self._finished(stream)
