"""Prometheus: every way to fail is an answer with a reason, and no answer is ever guessed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from haldane.control.ports import Series, Unavailable
from haldane.effects.prometheus import FREE_THREADS, THREADS, Prometheus, read_result

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


class StandIn:
    """Answers every request with what a test says."""

    def __init__(self) -> None:
        self.status, self.body, self.delay = 200, "", 0.0
        self.drip = False
        self.slow, self.busy, self.go_on = "", threading.Event(), threading.Event()
        self.left = threading.Event()
        self.seen: list[dict[str, list[str]]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                stand_in.seen.append(query)
                time.sleep(stand_in.delay)
                if query["query"] == [stand_in.slow]:
                    stand_in.busy.set()
                    stand_in.go_on.wait(5.0)
                self.send_response(stand_in.status)
                if stand_in.drip:
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        while not stand_in.go_on.wait(0.02):
                            self.wfile.write(b" ")
                    stand_in.left.set()
                    return
                self.send_header("Content-Length", str(len(stand_in.body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(stand_in.body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def gives(self, result: Any, kind: str = "vector") -> None:
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.server.shutdown()
    made.server.server_close()


def vector(*values: str) -> list[Any]:
    return [{"metric": {"revision": str(i)}, "value": [1.0, value]} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([], ()),
        (vector("1.5"), (Series({"revision": "0"}, 1.5),)),
        (vector("+Inf", "-Inf"), (Series({"revision": "0"}, math.inf), Series({"revision": "1"}, -math.inf))),
        ([1767268800.0, "42"], (Series({}, 42.0),)),
    ],
)
async def test_vectors_and_scalars(stand_in: StandIn, result: Any, expected: Any) -> None:
    stand_in.gives(result)
    prometheus = Prometheus(stand_in.url + "/")
    assert await prometheus.query("up", AT) == expected
    prometheus.close()
    assert stand_in.seen == [{"query": ["up"], "time": [f"{AT.timestamp():.3f}"], "timeout": ["4.500"]}]


async def test_nan_is_passed_on(stand_in: StandIn) -> None:
    stand_in.gives(vector("NaN"))
    answer = await Prometheus(stand_in.url).query("0/0", AT)
    assert isinstance(answer, tuple)
    assert math.isnan(answer[0].value)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, '{"status":"error","error":"parse error: unexpected )"}', "refused the query: parse error: unexpected )"),
        (
            400,
            json.dumps({"error": 'parameter "query": it\'s\\n über'}),
            'refused the query: parameter "query": it\'s\\n über',
        ),
        (422, '{"status":"error","error":"query timed out"}', "refused the query: query timed out"),
        (503, "starting", "refused the query: HTTP Status Code 503 (b'starting')"),
        (200, "<html>", "gave an answer that cannot be read"),
        (200, '{"status":"success"}', "gave an answer that cannot be read"),
        (200, '{"data":{"result":[{"metric":{},"value":[1,"x"]}]}}', "gave an answer that cannot be read"),
        (200, '{"data":{"result":[{"metric":{}}]}}', "gave an answer that cannot be read"),
        (200, '{"data":{"result":[{"metric":{},"values":[[1,"2"]]}]}}', "gives a range of values for each series"),
        (
            200,
            '{"data":{"result":[{"metric":{},"histogram":[1,{"count":"3"}]}]}}',
            "the query gives a histogram: take one",
        ),
        (200, '{"data":{"result":null}}', "gave an answer that cannot be read"),
    ],
)
async def test_bad_answers(stand_in: StandIn, status: int, body: str, reason: str) -> None:
    stand_in.status, stand_in.body = status, body
    answer = await Prometheus(stand_in.url).query("up", AT)
    assert isinstance(answer, Unavailable)
    assert reason in answer.reason


@pytest.mark.parametrize(
    ("status", "body", "too_much"),
    [
        (422, '{"status":"error","errorType":"execution","error":"would load too many samples into memory"}', True),
        (503, '{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}', True),
        (400, '{"status":"error","errorType":"bad_data","error":"parse error"}', True),
        (400, json.dumps({"errorType": "bad_data", "error": 'invalid parameter "query": it\'s no PromQL'}), True),
        (422, '{"status":"error","errorType":"422","error":"cannot evaluate the expression"}', True),
        (200, json.dumps({"data": {"result": [{"metric": {}, "histogram": [1, {"count": "3"}]}]}}), True),
        (414, "<html>Request-URI Too Large</html>", True),
        (503, "Service Unavailable", False),
        (502, "<html>Bad Gateway</html>", False),
        (401, '{"status":"error","errorType":"unauthorized","error":"no"}', False),
        (500, '{"status":"error","errorType":"internal","error":"disk"}', False),
    ],
)
async def test_what_a_smaller_query_may_be_spared(stand_in: StandIn, status: int, body: str, too_much: bool) -> None:
    stand_in.status, stand_in.body = status, body
    answer = await Prometheus(stand_in.url).query("up", AT)
    assert isinstance(answer, Unavailable)
    assert answer.too_much is too_much


async def test_down() -> None:
    answer = await Prometheus("http://127.0.0.1:1").query("up", AT)
    assert answer == Unavailable("Prometheus at http://127.0.0.1:1 cannot be reached")


async def test_too_slow(stand_in: StandIn) -> None:
    stand_in.slow = "up"
    started = time.monotonic()
    answer = await Prometheus(stand_in.url, timeout=0.1).query("up", AT)
    # The answer would have come after five seconds.
    assert time.monotonic() - started < 4.0
    stand_in.go_on.set()
    assert isinstance(answer, Unavailable)
    assert "did not answer" in answer.reason


async def test_slow_queries_of_users_hold_up_no_other(stand_in: StandIn) -> None:
    stand_in.gives(vector("1"))
    stand_in.slow = "slow"
    prometheus = Prometheus(stand_in.url)
    slow = [asyncio.create_task(prometheus.query("slow", AT, owner="shop")) for _ in range(3 * FREE_THREADS)]
    await asyncio.to_thread(stand_in.busy.wait, 5.0)
    assert await prometheus.query("up", AT) == (Series({"revision": "0"}, 1.0),)
    assert not any(task.done() for task in slow)
    stand_in.go_on.set()
    await asyncio.gather(*slow)


async def test_waiting_for_a_thread_is_no_time_out(stand_in: StandIn) -> None:
    stand_in.gives(vector("1"))
    stand_in.delay = 0.5
    # The last ones wait for longer than that before they are sent.
    prometheus = Prometheus(stand_in.url, timeout=1.4)
    answers = await asyncio.gather(*(prometheus.query("up", AT) for _ in range(4 * THREADS)))
    assert not [answer for answer in answers if isinstance(answer, Unavailable)]


async def test_a_query_that_nobody_waits_for_is_not_sent(stand_in: StandIn) -> None:
    stand_in.gives(vector("1"))
    stand_in.slow = "slow"
    prometheus = Prometheus(stand_in.url)
    slow = [asyncio.create_task(prometheus.query("slow", AT)) for _ in range(THREADS)]
    waits = asyncio.create_task(prometheus.query("up", AT))
    await asyncio.to_thread(stand_in.busy.wait, 5.0)
    waits.cancel()
    await asyncio.wait([waits])
    stand_in.go_on.set()
    await asyncio.gather(*slow)
    await prometheus.query("last", AT)
    assert "up" not in [query["query"][0] for query in stand_in.seen]


async def test_not_configured() -> None:
    answer = await Prometheus("").query("up", AT)
    assert answer == Unavailable("no Prometheus is configured: set HALDANE_PROMETHEUS_URL")


@pytest.mark.parametrize("promql", ['"5"', " ('five')", "`5`"])
async def test_a_text_is_no_number_whatever_it_looks_like(stand_in: StandIn, promql: str) -> None:
    stand_in.gives([1, "5"])
    answer = await Prometheus(stand_in.url).query(promql, AT)
    assert answer == Unavailable("the query is a text, not a number: write it without the quotation marks around it")


@pytest.mark.parametrize("result", [{}, "x", 3, None])
def test_results_that_are_no_lists(result: Any) -> None:
    with pytest.raises(TypeError, match="expected a list"):
        read_result(result)


@pytest.mark.parametrize(("free", "count", "fits"), [(True, 8000, True), (True, 12000, False), (False, 12000, True)])
async def test_an_answer_has_an_end(stand_in: StandIn, free: bool, count: int, fits: bool) -> None:
    stand_in.gives([{"metric": {"pod": "p" * 60}, "value": [1, "1"]}] * count)
    prometheus = Prometheus(stand_in.url)
    answer = await prometheus.query("up", AT, owner="shop" if free else None)
    if fits:
        assert isinstance(answer, tuple)
        assert len(answer) == count
    else:
        assert isinstance(answer, Unavailable)
        assert answer.too_much
        assert "answers with more than 1 MiB: aggregate the query to one value" in answer.reason
    # Neither is the connection spoilt for the next.
    stand_in.gives([])
    assert await prometheus.query("up", AT, owner="shop" if free else None) == ()
    prometheus.close()


async def test_an_answer_that_drips_frees_its_thread(stand_in: StandIn) -> None:
    stand_in.drip = True
    prometheus = Prometheus(stand_in.url, timeout=0.3)
    answer = await prometheus.query("up", AT)
    assert isinstance(answer, Unavailable)
    assert await asyncio.to_thread(stand_in.left.wait, 10.0)
    assert not stand_in.go_on.is_set()
    prometheus.close()
