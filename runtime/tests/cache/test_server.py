"""The real server with a real Redis: answers come from it, and go on without it."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def test_answers_are_kept_and_a_redis_that_goes_costs_no_request(
    redis: Any, models: Any, start: Callable[..., Any]
) -> None:
    redis.start()
    server = start(f"file://{models.double()}", HALDANE_RESPONSE_CACHE=redis.url).ready()

    def ask(value: int) -> float:
        started = time.monotonic()
        answer = server.client.post("/v1/predict", json={"instances": [[value, 2, 3]]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == [[2 * value, 4, 6]]
        return time.monotonic() - started

    def counted(outcome: str) -> float:
        """0 too for what has not been counted yet."""
        with suppress(AssertionError):
            return float(server.metric("haldane_response_cache_total", outcome=outcome))
        return 0

    deadline = time.monotonic() + 20
    while not counted("hit"):
        assert time.monotonic() < deadline, server.log
        ask(1)
    runs = server.metric("haldane_inference_seconds_count")
    hits = counted("hit")
    for _ in range(20):
        ask(1)
    spared = counted("hit") - hits
    # A machine that is busy may hold up an answer of Redis, which is then not waited for.
    assert spared > 5
    assert server.metric("haldane_inference_seconds_count") - runs == 20 - spared

    redis.freeze()
    assert max(ask(value) for value in range(200)) < 1
    redis.thaw()
    redis.stop()
    assert max(ask(value) for value in range(200)) < 1
    assert counted("error") > 0
    redis.start()
    hits = counted("hit")
    deadline = time.monotonic() + 30
    while counted("hit") == hits:
        assert time.monotonic() < deadline, server.log
        ask(7)
