"""The HTTP/2 state machine of a server's connection (RFC 9113). No I/O: bytes come in by `receive`, and lie in `out`."""

import logging
from collections.abc import Callable
from typing import Any

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.control import Control
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode, Setting, StreamFault
from haldane_runtime.protocol.grpc.headers import TOO_LONG, Received, received, trailers_fault
from haldane_runtime.protocol.grpc.hpack import HeaderDecoder
from haldane_runtime.protocol.grpc.limits import EARLY, Limits, Patience
from haldane_runtime.protocol.grpc.opened import Opened
from haldane_runtime.protocol.grpc.plain import HTTP1_ANSWER
from haldane_runtime.protocol.grpc.reader import FrameReader, NotHttp2
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Application, Stream

log = logging.getLogger(__name__)

_OUR_PING = b"haldane?"


class Connection:
    """One client. Nothing raises: a fault ends in GOAWAY and `closing`, after which `out` is the last to be sent.

    `wake` is called when there is output, also inside of the methods here.
    """

    def __init__(self, application: Application, limits: Limits, now: float, wake: Callable[[], None]) -> None:
        self.closing = False
        self.streams: dict[int, Stream] = {}
        self.out: list[bytes | memoryview] = [
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                    Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
                    Setting.MAX_FRAME_SIZE: limits.max_frame,
                    Setting.MAX_HEADER_LIST_SIZE: limits.header_list,
                }
            ),
            frames.window_update(0, limits.connection_window - frames.DEFAULT_WINDOW),
        ]
        self._application = application
        self._limits = limits
        self._wake = wake
        self._reader = FrameReader(limits)
        self._decoder = HeaderDecoder(limits.header_list, received, TOO_LONG)
        self._sender = Sender(self.out, wake, self._finished)
        self._window = limits.connection_window
        self._opened = Opened()
        self._leaving = False
        self._began = self._heard = self._now = now
        self._asked: float | None = None
        self._patience = Patience(now)
        self._answered = 0
        control = Control(self.streams, self._opened, self._sender, self._write, self._spend, self._ponged)
        self._handlers: tuple[Callable[[int, int, Any], None], ...] = (
            self._on_data,
            self._on_headers,
            control.priority,
            self._on_reset,
            control.settings,
            control.push,
            control.ping,
            self._on_goaway,
            control.window,
        )
        wake()

    def take(self) -> tuple[list[bytes | memoryview], bool]:
        """What is to be sent, and whether some of it is large."""
        out, bulky = self.out[:], self._sender.bulky
        self.out.clear()
        self._sender.bulky = False
        return out, bulky

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the client, at an instant of `time.monotonic`."""
        if self.closing:
            return
        self._now = self._heard = now
        self._asked = None
        handlers = self._handlers
        try:
            for kind, flags, number, payload in self._reader.feed(data):
                try:
                    if kind < len(handlers):
                        handlers[kind](flags, number, payload)
                    else:
                        self._spend()
                except StreamFault as fault:
                    # A client that makes us reset streams takes calls back no less than one that resets them; but that
                    # we have no room is not its doing.
                    if fault.code is not ErrorCode.REFUSED_STREAM:
                        self._spend_reset()
                    self._reset_stream(fault.stream_id, fault.code)
        except ConnectionFault as fault:
            self._end(fault.code, fault.message)
        except NotHttp2:
            self.out[:] = [HTTP1_ANSWER]
            self._end(None, "")
        except Exception:
            log.exception("a gRPC connection failed by a fault of the server")
            self._end(ErrorCode.INTERNAL_ERROR, "the server failed")

    def tick(self, now: float) -> None:
        """Called about twice a second: what never came, and who left without a word."""
        if self.closing:
            return
        self._now = now
        limits = self._limits
        if not self._reader.started:
            if now - self._began > limits.handshake:
                self._end(ErrorCode.SETTINGS_TIMEOUT, "no HTTP/2 preface came")
            return
        if self._asked is not None and now - self._asked > limits.ping:
            self._end(ErrorCode.NO_ERROR, "no answer to PING")
            return
        if self._asked is None and now - self._heard > limits.silence:
            self._asked = now
            self._write(frames.frame(frames.PING, 0, 0, _OUR_PING))
        for stream in list(self.streams.values()):
            stream.call.tick(now)
            if stream.id in self._sender.blocked:
                stream.blocked_since = stream.blocked_since or now
                if now - stream.blocked_since > limits.stalled:
                    self._reset_stream(stream.id, ErrorCode.CANCEL)

    def drain(self) -> None:
        """Take no more calls: the client opens a new connection for its next one; those that run are finished."""
        if self.closing or self._leaving:
            return
        self._leaving = True
        # The first GOAWAY loses no call that is on its way; the answer to PING says that none is any more.
        self._write(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR, "the server is stopping"))
        self._write(frames.frame(frames.PING, 0, 0, _OUR_PING))
        self._asked = self._now

    def stop(self) -> None:
        """Drain, and end the calls that would go on for ever."""
        self.drain()
        for stream in list(self.streams.values()):
            stream.call.stop()

    def lost(self) -> None:
        """The client is gone, and with it whoever waited for an answer."""
        self.closing = True
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            self._sender.forget(stream)
            stream.leave().gone()

    def _on_data(self, flags: int, number: int, payload: bytes | memoryview) -> None:
        size = len(payload)
        self._window -= size
        if self._window < self._limits.connection_window // 2:
            if self._window < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
            self._write(frames.window_update(0, self._limits.connection_window - self._window))
            self._window = self._limits.connection_window
        stream = self.streams.get(number)
        if stream is None:
            self._opened.require(number, "DATA")
            if self._opened.was_reset(number):
                return
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        if stream.remote_closed:
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        if flags & frames.PADDED:
            payload = frames.without_padding(frames.PADDED, payload)
        ended = bool(flags & frames.END_STREAM)
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(number, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window allows")
        if ended:
            self._ended(stream, len(payload))
        else:
            if stream.receive_window < self._limits.stream_window // 2:
                self._write(frames.window_update(number, self._limits.stream_window - stream.receive_window))
                stream.receive_window = self._limits.stream_window
            if not payload:
                self._spend()
            stream.body_bytes += len(payload)
        stream.call.receive(payload, ended)

    def _on_headers(self, flags: int, number: int, block: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd numbers")
        got = self._decoder.decode(block)
        ended = bool(flags & frames.END_STREAM)
        opened = self._opened
        if number <= opened.last:
            self._on_trailers(number, got, ended)
            return
        opened.last = number
        if number > opened.highest:
            opened.remember(number)
            return
        if len(self.streams) >= self._limits.streams or self._sender.waiting > self._limits.waiting:
            raise StreamFault(number, ErrorCode.REFUSED_STREAM, "too many streams, or too many answers not taken")
        head = got.head
        if head.fault or (ended and head.content_length):
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, head.fault or "no data, but a content-length")
        windows = self._sender.initial_window, self._limits.stream_window
        stream = Stream(number, *windows, head.content_length, ended, self._now)
        self.streams[number] = stream
        call = self._application.open(self._sender, stream, got, self._now)
        if number in self.streams:
            stream.call = call
            if ended:
                call.receive(b"", True)

    def _on_trailers(self, number: int, got: Received, ended: bool) -> None:
        stream = self.streams.get(number)
        if stream is None:
            if self._opened.was_reset(number):
                return
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        if stream.remote_closed:
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        if not ended or got.head.too_long or trailers_fault(got.fields):
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "malformed trailers")
        self._ended(stream, 0)
        stream.call.receive(b"", True)

    def _ended(self, stream: Stream, size: int) -> None:
        stream.remote_closed = True
        if stream.declared is not None and stream.body_bytes + size != stream.declared:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "more or less data than content-length")

    def _on_reset(self, _: int, number: int, payload: bytes) -> None:
        frames.parse_word(payload, "RST_STREAM")
        stream = self.streams.pop(number, None)
        if stream is None:
            self._opened.require(number, "RST_STREAM")
            # It may have met our own, once. One that met an answer costs nothing: the answer has earned it.
            if not self._opened.met(number):
                self._spend_reset()
            return
        if not stream.remote_closed or self._now - stream.opened < EARLY:
            self._spend_reset()
        self._sender.forget(stream)
        stream.leave().gone()

    def _ponged(self) -> None:
        if self._leaving and not self._opened.over:
            self._opened.end()
            self._write(frames.goaway(self._opened.last, ErrorCode.NO_ERROR))
            self._close_when_empty()

    def _on_goaway(self, _: int, number: int, __: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY belongs to no stream")
        self._leaving = True
        self._opened.end()
        self._close_when_empty()

    def _spend(self) -> None:
        self._patience.spend(self._now, self._sender.data_frames)

    def _spend_reset(self) -> None:
        self._patience.reset(self._now, self._answered)

    def _finished(self, stream: Stream) -> None:
        """The answer's last frame is written."""
        self._answered += 1
        self.streams.pop(stream.id, None)
        stream.leave()
        if not stream.remote_closed:
            # The client need not send the rest of its request.
            self._opened.remember(stream.id)
            self._write(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        if self._leaving:
            self._close_when_empty()

    def _reset_stream(self, number: int, code: ErrorCode) -> None:
        stream = self.streams.pop(number, None)
        self._opened.remember(number)
        self._write(frames.rst_stream(number, code))
        if stream is not None:
            self._sender.forget(stream)
            stream.leave().gone()
        self._close_when_empty()

    def _close_when_empty(self) -> None:
        if self._opened.over and not self.streams:
            self.closing = True
            self._wake()

    def _end(self, code: ErrorCode | None, message: str) -> None:
        if code is not None:
            self._write(frames.goaway(self._opened.last, code, message))
        self.lost()
        self._wake()

    def _write(self, data: bytes) -> None:
        self.out.append(data)
        self._wake()
