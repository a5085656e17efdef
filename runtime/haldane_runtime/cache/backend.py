"""What a response cache needs of a store of values, and Redis as one."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from haldane_runtime.core.errors import LoadError, Reason

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECT_SECONDS = 1.0
# One for the lookups, one for the writes, and one each that is just being replaced.
CONNECTIONS = 4


class Backend(Protocol):
    """Methods raise whatever they like: the cache treats every exception alike. None is called by two tasks at once."""

    where: str

    async def connect(self) -> None:
        """Ready to serve; again after `disconnect`."""
        ...

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values of `keys`, None for what is not there."""
        ...

    async def write(self, entries: Sequence[tuple[bytes, bytes]], seconds: float) -> int:
        """Keep values for so long; how many were refused."""
        ...

    async def disconnect(self) -> None:
        """Drop the connections, whatever they are waiting for."""
        ...


class RedisBackend:
    """Redis (or what speaks its protocol) at a `redis://`, `rediss://` or `unix://` URL."""

    def __init__(self, url: str) -> None:
        """Raises: LoadError: InvalidConfiguration, for another kind of URL; it never repeats a password."""
        try:
            parts = urlsplit(url)
            self.where = f"{parts.hostname}:{parts.port or 6379}" if parts.scheme != "unix" else parts.path
        except ValueError as error:
            raise _wrong_url() from error
        if parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.scheme == "unix"):
            raise _wrong_url()
        self._url = url
        self._redis: Redis | None = None

    async def connect(self) -> None:
        if self._redis is None:
            # The import takes a third of a second, in which the event loop has other things to do.
            self._redis = await asyncio.to_thread(_client, self._url)
        await self._redis.ping()

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        assert self._redis is not None
        return cast("Sequence[bytes | None]", await self._redis.mget(keys))

    async def write(self, entries: Sequence[tuple[bytes, bytes]], seconds: float) -> int:
        assert self._redis is not None
        async with self._redis.pipeline(transaction=False) as pipe:
            for key, value in entries:
                pipe.set(key, value, px=max(1, round(seconds * 1000)))
            # A full Redis refuses writes and goes on answering lookups.
            results = await pipe.execute(raise_on_error=False)
        return sum(isinstance(result, Exception) for result in results)

    async def disconnect(self) -> None:
        if self._redis is not None:
            await self._redis.connection_pool.disconnect(inuse_connections=True)


def _client(url: str) -> "Redis":
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        return Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            # A second try would be a second wait of the client's.
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS,
            decode_responses=False,
        )
    except ValueError as error:
        raise _wrong_url() from error


def _wrong_url() -> LoadError:
    return LoadError(
        Reason.INVALID_CONFIGURATION,
        "HALDANE_RESPONSE_CACHE must be a URL like redis://host:6379/0 (rediss:// for TLS, unix:// for a socket).",
    )
