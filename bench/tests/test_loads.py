import math

import pytest

from bench.runtime.loads import parse_load, parse_wrk

WRK = """Running 2s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
Requests/sec:   1000.00
{"requests":2000,"microseconds":2000000,"connect":0,"read":3,"write":0,"status":500,"timeout":0,"p50":900.0,"p90":2000.0,"p99":4500.0}
"""


def test_wrk_figures_count_only_good_answers() -> None:
    seen = parse_wrk(WRK)
    assert seen.rate == 750
    assert seen.errors == {"read": 3, "status": 500}
    assert seen.failed == 503
    assert (seen.p50, seen.p90, seen.p99) == pytest.approx((0.0009, 0.002, 0.0045))


def test_wrk_without_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:8080 Connection refused")


def test_requests_that_were_never_sent_count_as_failed() -> None:
    text = '{"requests":30,"errors":{"503":2},"unsent":5,"seconds":3,"latency":{"p50":0.1,"p90":0.2,"p99":0.3,"max":1}}'
    seen = parse_load(text)
    assert (seen.rate, seen.p99, seen.failed) == (10, 0.3, 7)


def test_no_answer_at_all_has_no_latency() -> None:
    seen = parse_load('{"requests":0,"errors":{"timeout":9},"unsent":0,"seconds":3,"latency":{}}')
    assert seen.rate == 0
    assert math.isinf(seen.p99)
