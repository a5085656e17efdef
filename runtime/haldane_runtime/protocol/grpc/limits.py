"""What one client may cost before it is told to stop."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a connection; sizes in bytes, times in seconds.

    The windows are what a client may send ahead of us: small requests never wait for an update, and a client cannot make us
    hold more than `connection_window` beyond the messages that are being put together, which `assembling` bounds.
    """

    message: int = 64 << 20
    assembling: int = 256 << 20
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


class Allowance:
    """Counts what a well-behaved client does rarely: a bucket of `burst` that refills with `rate` a second."""

    __slots__ = ("_burst", "_left", "_rate", "_seen")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._seen = now

    def spend(self, now: float) -> bool:
        """False when nothing is left."""
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate) - 1
        self._seen = now
        return self._left >= 0

    def earn(self, amount: float) -> None:
        self._left = min(self._burst, self._left + amount)
