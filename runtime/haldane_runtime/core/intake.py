"""Bodies that are still arriving: their bytes are bounded together, as those that wait for the engine are."""

from haldane_runtime.core.errors import Code, RequestError


class Intake:
    """Counts the bytes promised by requests whose bodies are not complete. One thread's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, nbytes: int) -> None:
        """Make room for so many bytes; one request alone may have more than the limit.

        Raises:
            RequestError: UNAVAILABLE, when too much is arriving already.
        """
        if self.taken and self.taken + nbytes > self._limit:
            raise RequestError(
                Code.UNAVAILABLE,
                f"too much is being sent at once (at most {self._limit} bytes of unfinished bodies); try again later",
                retry_after=1.0,
            )
        self.taken += nbytes

    def release(self, nbytes: int) -> None:
        self.taken -= nbytes
