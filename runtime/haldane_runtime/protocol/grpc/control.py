"""Answers to the frames that carry no call: PRIORITY, SETTINGS, PUSH_PROMISE, PING and WINDOW_UPDATE."""

from collections.abc import Callable, Mapping

from haldane_runtime.protocol.grpc import frames
from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode, StreamFault
from haldane_runtime.protocol.grpc.opened import Opened
from haldane_runtime.protocol.grpc.sending import Sender
from haldane_runtime.protocol.grpc.stream import Stream


class Control:
    """Each method is given a frame's flags, the number of its stream (0 for the connection) and its payload.

    `spend` is called for every frame, which costs us work and brings its sender nothing; `ponged` when the client answers our
    PING. Every method raises ConnectionFault or StreamFault for what RFC 9113 forbids.
    """

    def __init__(
        self,
        streams: Mapping[int, Stream],
        opened: Opened,
        sender: Sender,
        write: Callable[[bytes], None],
        spend: Callable[[], None],
        ponged: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._opened = opened
        self._sender = sender
        self._write = write
        self._spend = spend
        self._ponged = ponged

    def priority(self, _: int, number: int, payload: bytes) -> None:
        """RFC 9113 took priorities away, but not the rules for their frames."""
        self._spend()
        if number == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY needs a stream")
        if len(payload) != 5:
            raise StreamFault(number, ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY frame must have 5 bytes")

    def settings(self, flags: int, number: int, payload: bytes) -> None:
        """The client's settings, which hold from now on, or its word that it has ours."""
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS belong to no stream")
        self._spend()
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS must be empty")
            return
        # Before what the new windows let out.
        self._write(frames.SETTINGS_ACK)
        self._sender.obey(payload, list(self._streams.values()))

    def push(self, _: int, __: int, ___: bytes) -> None:
        """Only a server may."""
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client must not push")

    def ping(self, flags: int, number: int, payload: bytes) -> None:
        """A question whether we are there, or the answer to ours."""
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING belongs to no stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PING frame must have 8 bytes")
        self._spend()
        if flags & frames.ACK:
            self._ponged()
        else:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def window(self, _: int, number: int, payload: bytes) -> None:
        """The client takes more, on a stream or in all."""
        self._spend()
        increment = frames.parse_word(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW
        stream = self._streams.get(number) if number else None
        if number and stream is None:
            self._opened.require(number, "WINDOW_UPDATE")
            return
        if not increment:
            if number:
                raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "a window cannot grow by 0")
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window cannot grow by 0")
        self._sender.grow(stream, increment)
