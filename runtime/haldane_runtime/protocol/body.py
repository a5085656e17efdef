"""Reading a request's body within its limits of size and time."""

import asyncio

from starlette.requests import Request

from haldane_runtime.core.errors import Code, RequestError


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body, at most `limit` bytes, within `seconds`.

    A declared length over the limit is refused before a byte of the body is read; a chunked body
    is refused as soon as it grows over it.

    Raises:
        RequestError: TOO_LARGE, BODY_TIMEOUT, UNSUPPORTED_ENCODING.
        ClientDisconnect: when the client leaves before the end.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            Code.UNSUPPORTED_ENCODING, f"the content encoding '{encoding}' is not served here; send the body as it is"
        )
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, f"{declared} bytes")
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError:
        raise RequestError(Code.BODY_TIMEOUT, "the request body did not arrive within the request's deadline") from None


async def _read(request: Request, limit: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, "more")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int, got: str) -> RequestError:
    return RequestError(Code.TOO_LARGE, f"the request body may have at most {limit} bytes, got {got}")
