"""The least that a Python server can do: an ASGI application that reads the body and answers with as many bytes as a prediction has."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

ANSWER = b" " * int(os.environ["BENCH_ANSWER_BYTES"])
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}
BODY = {"type": "http.response.body", "body": ANSWER}

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The ASGI entry point."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(BODY)
