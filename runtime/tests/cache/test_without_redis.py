"""A cache whose Redis is down costs the requests next to nothing, beside a server that has none."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

LEAST_ROUNDS = 5
# As many as a busy machine may need until each of the two had a round for itself.
MOST_ROUNDS = 60
REQUESTS = 100
# Both measure close to 1; an attempt to connect or a lookup that waits, in each request, would be a multiple.
MOST_CPU = 1.25
MOST_TIME = 1.5
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]})


def cpu_seconds(pid: int) -> float:
    """Of all threads of another process: its CPU clock, which Linux numbers by its id."""
    return time.clock_gettime((~pid << 3) | 2)


class Measured:
    """A server under load on one connection: the least CPU time and the least time of a round."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.rounds = 0
        self.cpu = self.time = float("inf")
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)

    def round(self) -> None:
        cpu, started = cpu_seconds(self.server.process.pid), time.monotonic()
        for _ in range(REQUESTS):
            self._connection.request("POST", "/v2/models/model/infer", BODY)
            answer = self._connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        self.time = min(self.time, time.monotonic() - started)
        self.cpu = min(self.cpu, cpu_seconds(self.server.process.pid) - cpu)
        self.rounds += 1

    def close(self) -> None:
        self._connection.close()


def test_requests_cost_the_same_with_a_redis_that_is_down(start: Callable[..., Any], models: Any) -> None:
    uri = f"file://{models.double()}"
    # Nobody may listen on port 1.
    servers = [start(uri), start(uri, HALDANE_RESPONSE_CACHE="redis://127.0.0.1:1/0")]
    without, down = (Measured(server.ready()) for server in servers)

    def holds() -> bool:
        return down.cpu < MOST_CPU * without.cpu and down.time < MOST_TIME * without.time

    while without.rounds < LEAST_ROUNDS or (not holds() and without.rounds < MOST_ROUNDS):
        without.round()
        down.round()
    without.close()
    down.close()
    assert down.server.metric("haldane_response_cache_total", outcome="error") == REQUESTS * down.rounds
    assert holds(), (
        f"{REQUESTS} requests take {without.cpu:.4f} s of CPU and {without.time:.4f} s without a cache, "
        f"{down.cpu:.4f} s and {down.time:.4f} s with one whose Redis is down"
    )
