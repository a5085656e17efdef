"""Which streams a client has opened, and what may still come on those that are closed."""

from collections import OrderedDict

from haldane_runtime.protocol.grpc.frames import MAX_STREAM_ID, ConnectionFault, ErrorCode

# Frames of a stream that we reset may still be on their way.
_REMEMBERED_RESETS = 1024


class Opened:
    """Numbers of one connection's streams: a client's are odd, and each is higher than the one before."""

    __slots__ = ("_reset", "highest", "last")

    def __init__(self) -> None:
        self.last = 0
        self.highest = MAX_STREAM_ID
        """Streams above are not served: we said so in GOAWAY."""
        self._reset: OrderedDict[int, None] = OrderedDict()

    @property
    def over(self) -> bool:
        """Whether no stream will be served but those that were opened."""
        return self.highest != MAX_STREAM_ID

    def end(self) -> None:
        """Serve none but those that were opened."""
        self.highest = self.last

    def require(self, number: int, kind: str) -> None:
        """For a frame on a stream that is not open now.

        Raises:
            ConnectionFault: PROTOCOL_ERROR, for a stream that was never opened.
        """
        if number > self.last or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{kind} on a stream that is not open")

    def remember(self, number: int) -> None:
        """We reset this stream."""
        self._reset[number] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            self._reset.popitem(last=False)

    def was_reset(self, number: int) -> bool:
        """Whether we reset it, not long ago."""
        return number in self._reset

    def met(self, number: int) -> bool:
        """The client reset it, too: whether its frame may have met ours on the way, which happens once."""
        if number not in self._reset:
            return False
        del self._reset[number]
        return True
