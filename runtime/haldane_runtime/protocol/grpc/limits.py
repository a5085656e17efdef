"""What one client may cost before it is told to stop."""

from dataclasses import dataclass

from haldane_runtime.protocol.grpc.frames import ConnectionFault, ErrorCode


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a connection; sizes in bytes, times in seconds.

    The windows are what a client may send ahead of us: small requests never wait for an update, and a client cannot make us
    hold more than `connection_window` beyond the messages that are being put together, which `assembling` bounds for all
    clients, as `calls` does the calls that are open. Once `waiting` bytes of answers are not taken by a client, it gets no new ones.
    """

    message: int = 64 << 20
    assembling: int = 256 << 20
    waiting: int = 64 << 20
    streams: int = 1024
    header_list: int = 16 << 10
    header_block: int = 32 << 10
    continuations: int = 16
    max_frame: int = 16 << 10
    stream_window: int = 4 << 20
    connection_window: int = 16 << 20
    handshake: float = 10.0
    silence: float = 300.0
    ping: float = 20.0
    stalled: float = 60.0
    connections: int = 4096
    calls: int = 32768


# In seconds. A client that takes its calls back later than that, as one does whose deadlines pass, cannot do it too often: it
# has no more than `Limits.streams` of them at a time.
EARLY = 0.1


class Patience:
    """With one client: what costs us work and brings it nothing may come in bursts, but not for ever.

    Both counts are buckets that refill with time, and by answers, each of which is acknowledged in several ways and may meet
    its call being taken back.
    """

    __slots__ = ("_answered", "_data", "_frames", "_resets")

    def __init__(self, now: float) -> None:
        self._frames = _Bucket(burst=4000, rate=500, now=now)
        self._resets = _Bucket(burst=2000, rate=1000, now=now)
        self._data = 0
        self._answered = 0

    def spend(self, now: float, data: int) -> None:
        """A frame that carries nothing; `data` counts the DATA frames that were sent so far.

        Raises:
            ConnectionFault: ENHANCE_YOUR_CALM.
        """
        self._frames.earn(4 * (data - self._data))
        self._data = data
        if not self._frames.spend(now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def reset(self, now: float, answered: int) -> None:
        """A call that its client takes back early; `answered` counts the answers that were sent to their end so far.

        Raises:
            ConnectionFault: ENHANCE_YOUR_CALM.
        """
        self._resets.earn(answered - self._answered)
        self._answered = answered
        if not self._resets.spend(now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many calls are taken back")


class _Bucket:
    __slots__ = ("_burst", "_left", "_rate", "_seen")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._seen = now

    def spend(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate) - 1
        self._seen = now
        return self._left >= 0

    def earn(self, amount: float) -> None:
        self._left = min(self._burst, self._left + amount)
