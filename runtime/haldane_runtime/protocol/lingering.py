"""The end of a connection whose client is still sending what nobody wants.

Closing at once would reset the connection, and the reset may overtake the answer that says why (RFC 9112, 9.6): the
answer leaves first, then for a short time what still comes is read and thrown away.
"""

import asyncio
import contextlib

from fastapi import Response
from starlette.types import Receive, Scope, Send

LINGER_SECONDS = 5.0
LINGER_BYTES = 256 << 20


class LingeringResponse(Response):
    """An answer before the end of its request, the last one on its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _throw_away(receive, LINGER_BYTES)
        await send({"type": "http.response.body"})


async def _throw_away(receive: Receive, most: int) -> None:
    more = True
    while more and most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        # Also over when the client has left.
        more = message.get("more_body", False)
