"""gRPC over an HTTP/2 server path of our own, which does what unary inference needs and little else.

From the socket inwards: `server` (asyncio) feeds bytes to `connection` (HTTP/2, no I/O), which opens a `call` (gRPC)
for every stream; `service`, `health` and `reflection` answer calls. `frames`, `headers`, `messages` and `tensors` are pure.
"""
