"""The hot path: plain inference requests are answered here, in front of FastAPI.

Read `connection` first. A request that is out of the ordinary in any way (another route, a chunked
or compressed body, a tensor that the optimistic decoder does not know) goes on, byte for byte, to
uvicorn and FastAPI, which know everything and word every error. So the hot path can be short: it
answers what it is sure of and declines the rest.
"""
