"""gRPC over an HTTP/2 server path of our own, which does what unary inference needs and little else.

From the socket inwards: `server` moves bytes between asyncio's transports and connections; `connection` is HTTP/2 without I/O, with
`reader` for what comes, `sending` for what goes out, `hpack` and `headers` for header blocks, and `limits` for what a client may
cost; `call` turns a stream into messages and an answer; `infer`, `service`, `health` and `reflection` are the methods. `frames`,
`messages`, `tensors` and `wire` are pure.

A small call costs one lookup of its header block, one parse by protobuf and one entry in the batcher, and all answers of a turn
of the event loop leave a connection in one write.
"""
