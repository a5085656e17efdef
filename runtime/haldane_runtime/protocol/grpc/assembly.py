"""Messages that come in several pieces, or several at once, within a bound that all calls of a server share."""

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.protocol.grpc.messages import PREFIX_BYTES, declared_size

_RETRY_SECONDS = 1.0


class Budget:
    """How many bytes of incomplete messages all calls together hold, and may hold; and how many calls there are."""

    __slots__ = ("calls", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.calls = 0


class Assembly:
    """What has come of one call's messages and was not taken yet."""

    __slots__ = ("_budget", "_buffer", "foreseen")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._buffer = bytearray()
        self.foreseen = False
        """The caller's mark that it has looked at the prefix of the first message; `take` clears it."""

    def __len__(self) -> int:
        return len(self._buffer)

    def add(self, data: bytes | memoryview) -> None:
        """Raises: RequestError: UNAVAILABLE, when the server holds too much of all its clients."""
        self._buffer += data
        self._budget.used += len(data)
        if self._budget.used > self._budget.limit:
            raise RequestError(
                Code.UNAVAILABLE, "the server holds too many incomplete messages; try again later", _RETRY_SECONDS
            )

    @property
    def announced(self) -> int | None:
        """The size in bytes of the first message, without its prefix; None while that is not known."""
        return declared_size(self._buffer) if len(self._buffer) >= PREFIX_BYTES else None

    def beginning(self, size: int) -> bytes:
        """At most so many bytes of the first message."""
        return bytes(self._buffer[PREFIX_BYTES : PREFIX_BYTES + size])

    def take(self, size: int) -> tuple[int, memoryview]:
        """The first message, of that size: its flag and its bytes, which are not copied."""
        whole, end = self._buffer, PREFIX_BYTES + size
        self._buffer = whole[end:]
        self._budget.used -= end
        self.foreseen = False
        return whole[0], memoryview(whole)[PREFIX_BYTES:end]

    def drop(self) -> None:
        """Nobody waits for the rest."""
        self._budget.used -= len(self._buffer)
        self._buffer = bytearray()
