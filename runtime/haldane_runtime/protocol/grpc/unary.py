"""Methods of one request and one answer."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from haldane_runtime.core.errors import RequestError
from haldane_runtime.protocol.grpc.call import GrpcCall, Method
from haldane_runtime.protocol.grpc.schema import parse


class Unary(Method):
    """Answers with the message that `answer` makes of the parsed request, now or once it is awaited."""

    def __init__(self, request: Any, answer: Callable[[Any], Any]) -> None:
        self._request = request
        self._answer = answer
        # The loop itself holds tasks weakly.
        self._running: set[asyncio.Task[None]] = set()

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        """See `Method.message`."""
        result = self._answer(parse(self._request, data))
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(_finish(call, result))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            call.reply(result.SerializeToString())


async def _finish(call: GrpcCall, result: Awaitable[Any]) -> None:
    try:
        message = await result
    except RequestError as error:
        call.refuse(error)
    except Exception as error:
        call.fail(error)
    else:
        call.reply(message.SerializeToString())
