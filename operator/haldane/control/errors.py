"""The three ways an effect can fail, as far as the control loop cares."""

from __future__ import annotations

from datetime import timedelta


class Retryable(Exception):
    """Worth another try: a time-out, a refused connection, a server that says it is busy."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Terminal(Exception):
    """Trying the same again gives the same: the request itself is refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Conflict(Exception):
    """The object changed since it was read: look again, then decide again."""
