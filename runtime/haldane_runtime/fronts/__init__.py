"""Front processes: more cores for reading and writing HTTP in front of one engine.

The server itself accepts every connection. When its event loop is saturated it hands some of them,
between two requests, to a front: another process, which reads plain inference requests, sends their
tensors over and writes the answers. All requests still meet in the server's one queue, so that
batching, bounds and metrics stay in one place. A connection that asks for anything else comes back
with the bytes that were read. Read `wire` for what goes between the two, `server` and `process` for
its ends, `balance` for when a connection moves.
"""
