"""The real server with a real Redis beside it: over HTTP, on the hot path and on the general one."""

import time
from collections.abc import Callable
from typing import Any

DEADLINE = 15.0
URL = "/v2/models/model/infer"


def question(value: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [value] * 3}]}


def lookups(server: Any, outcome: str) -> float:
    # The series comes with the first lookup.
    lines = [line for line in server.client.get("/metrics").text.splitlines() if f'outcome="{outcome}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def ask(server: Any, value: float, **headers: str) -> list[float]:
    answer = server.client.post(URL, json=question(value), headers=headers)
    assert answer.status_code == 200, answer.text
    data: list[float] = answer.json()["outputs"][0]["data"]
    return data


def test_the_same_question_is_run_once_until_redis_goes_away(
    start: Callable[..., Any], models: Any, redis: Any
) -> None:
    redis.start()
    server = start(f"file://{models.double()}", HALDANE_RESPONSE_CACHE=redis.url).ready()
    until(lambda: ask(server, 0) and lookups(server, "hit"))
    runs = server.metric("haldane_inference_seconds_count")

    assert ask(server, 1) == [2, 2, 2]
    until(lambda: ask(server, 1) == [2, 2, 2] and lookups(server, "hit") >= 2)
    # A single coding makes the answer a matter of the general path.
    assert ask(server, 1, **{"Accept-Encoding": "gzip"}) == [2, 2, 2]
    assert server.metric("haldane_inference_seconds_count") - runs <= 2

    redis.stop()
    before = server.metric("haldane_inference_seconds_count")
    for value in (1, 1, 1):
        assert ask(server, value) == [2, 2, 2]
    assert server.metric("haldane_inference_seconds_count") == before + 3
    assert lookups(server, "error") >= 1
    assert server.metric("haldane_requests_total", code="500") == 0

    redis.start()
    hits = lookups(server, "hit")
    until(lambda: ask(server, 2) == [4, 4, 4] and lookups(server, "hit") > hits)
