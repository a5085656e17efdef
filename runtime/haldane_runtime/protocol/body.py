"""Reading a request's body within its limits of size and time."""

import asyncio

from starlette.requests import Request

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.intake import Intake
from haldane_runtime.protocol.compression import Inflater
from haldane_runtime.protocol.headers import content_coding


async def read_body(request: Request, limit: int, seconds: float, intake: Intake | None = None) -> bytes:
    """The whole body, inflated, at most `limit` bytes before and after that, within `seconds`.

    A declared length over the limit is refused before a byte of the body is read; a chunked or a
    compressed body is refused as soon as it grows over it.

    Raises:
        RequestError: TOO_LARGE, BODY_TIMEOUT, UNSUPPORTED_ENCODING, INVALID, UNAVAILABLE when `intake` is full.
        ClientDisconnect: when the client leaves before the end.
    """
    coding = content_coding(request.headers)
    inflater = None if coding == "identity" else Inflater(coding, limit)
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, f"{declared} bytes")
    taken = _Taken(intake or Intake(limit))
    try:
        async with asyncio.timeout(seconds):
            return await (
                _read(request, limit, taken) if inflater is None else _inflate(request, limit, inflater, taken)
            )
    except TimeoutError:
        raise RequestError(Code.BODY_TIMEOUT, "the request body did not arrive within the request's deadline") from None
    finally:
        taken.release()


class _Taken:
    """What one request has of the intake: as much as has arrived, since a length may be missing or a lie."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.nbytes = 0

    def take(self, nbytes: int) -> None:
        self._intake.take(nbytes)
        self.nbytes += nbytes

    def release(self) -> None:
        self._intake.release(self.nbytes)


async def _read(request: Request, limit: int, taken: _Taken) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, "more")
        taken.take(len(chunk))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _inflate(request: Request, limit: int, inflater: Inflater, taken: _Taken) -> bytes:
    pieces = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, "more")
        for piece in inflater.feed(chunk):
            taken.take(len(piece))
            pieces.append(piece)
            # A small chunk may hold many pieces; other requests go between them.
            await asyncio.sleep(0)
    if size:
        inflater.finish()
    return b"".join(pieces)


def _too_large(limit: int, got: str) -> RequestError:
    return RequestError(Code.TOO_LARGE, f"the request body may have at most {limit} bytes, got {got}")
