"""The least that a Python server can do: an ASGI application that reads the body and answers with as many bytes as a prediction has.

With BENCH_RUN=1 it also runs the model on one constant row, by ONNX Runtime alone: what no server round it can be quicker than.
"""

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


def _run() -> Callable[[], object]:
    if os.environ.get("BENCH_RUN") != "1":
        return lambda: None
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    row = np.zeros((1, *entry.shape[1:]), np.float32)
    return lambda: session.run(None, {entry.name: row})


run = _run()

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The ASGI entry point."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    run()
    await send(START)
    await send(BODY)
