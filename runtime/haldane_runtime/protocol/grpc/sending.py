"""What goes out: frames within the peer's windows, and what waits for them."""

from collections import deque
from collections.abc import Callable

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from haldane_runtime.protocol.grpc.stream import Stream

_END_HEADERS = frames.END_HEADERS
_END_BOTH = frames.END_HEADERS | frames.END_STREAM


class Sender:
    """Appends frames to `out`. `wake` is called when there is something new, `finished` after a stream's last frame.

    Every stream's answer is complete once `trailers` was given; header blocks must fit one frame of the smallest legal size.
    """

    def __init__(self, out: list[bytes], wake: Callable[[], None], finished: Callable[[Stream], None]) -> None:
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.SMALLEST_MAX_FRAME
        self.blocked: dict[int, Stream] = {}
        self.data_frames = 0
        self._out = out
        self._wake = wake
        self._finished = finished

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
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
        head_size, tail_size = len(head), len(trailers)
        out += (
            pack(head_size >> 8, head_size & 0xFF, frames.HEADERS, _END_HEADERS, number),
            head,
            pack(size >> 8, size & 0xFF, frames.DATA, 0, number),
            data,
            pack(tail_size >> 8, tail_size & 0xFF, frames.HEADERS, _END_BOTH, number),
            trailers,
        )
        self._finished(stream)
        self._wake()

    def headers(self, stream: Stream, block: bytes) -> None:
        self._out.append(frames.frame(frames.HEADERS, _END_HEADERS, stream.id, block))
        self._wake()

    def data(self, stream: Stream, data: bytes) -> None:
        """A part of the body, at once as far as the windows allow."""
        if stream.pending is None:
            stream.pending = deque()
        stream.pending.append(memoryview(data))
        self._send(stream)
        self._wake()

    def trailers(self, stream: Stream, block: bytes) -> None:
        """The end of the answer, after all data; the block may be empty."""
        stream.trailers = block
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

    def resize(self, streams: list[Stream], initial: int) -> None:
        """A new initial window, which moves the windows of open streams by the difference.

        Raises:
            ConnectionFault: FLOW_CONTROL_ERROR, when one of them grows over its limit.
        """
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
            stream.send_window -= size
            stream.blocked_since = None
            self.data_frames += 1
            self._out.append(frames.pack_header(size >> 8, size & 0xFF, frames.DATA, 0, stream.id))
            self._out.append(piece)  # type: ignore[arg-type]
        self.blocked.pop(stream.id, None)
        if stream.trailers is not None:
            kind, flags = (frames.HEADERS, _END_BOTH) if stream.trailers else (frames.DATA, frames.END_STREAM)
            self._out.append(frames.frame(kind, flags, stream.id, stream.trailers))
            self._finished(stream)
