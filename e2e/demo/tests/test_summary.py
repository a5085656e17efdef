import io
from dataclasses import replace

import pytest
from rich.console import Console

from e2e.demo.chapters import CHAPTERS, Outcome, Result
from e2e.demo.summary import complaints, examples_of_failures, table
from e2e.harness.tally import Tally

V1, V2, V3, V4 = CHAPTERS


@pytest.fixture
def results() -> list[Result]:
    return [
        Result(V1, Outcome("served", "v1", ""), None, frozenset(), 12.0),
        Result(V2, Outcome("promoted", "v2", ""), "v1", frozenset(), 95.0),
        Result(V3, Outcome("rolled back", "v2", "slow"), "v2", frozenset({"p90"}), 40.0),
        Result(V4, Outcome("rolled back", "v2", "broken"), "v2", frozenset({"errors"}), 20.0),
    ]


@pytest.fixture
def tally() -> Tally:
    counted = Tally()
    for at in range(100):
        counted.answered("v1", right=at >= 10, seconds=0.003, at=at)
        counted.answered("v2", right=at >= 2, seconds=0.004, at=at)
    counted.answered("v3-slow", right=True, seconds=0.2, at=100)
    counted.failed("v4-broken", "500: out of bounds", seconds=0.002, at=101)
    return counted


def printed(results: list[Result], tally: Tally) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(CHAPTERS, results, tally))
    return console.export_text()


def test_a_good_run_has_no_complaint(results: list[Result], tally: Tally) -> None:
    assert complaints(CHAPTERS, results, tally) == []
    text = printed(results, tally)
    for version, *parts in (
        ("v1", "served", "12 s", "90.0 %", "3 ms"),
        ("v2", "promoted", "98.0 %"),
        ("v3-slow", "rolled back by p90", "200 ms"),
        ("v4-broken", "rolled back by errors"),
    ):
        (row,) = (line for line in text.splitlines() if f" {version} " in line)
        assert all(part in row for part in parts), row
    assert "202 requests" in text
    assert "0 in all" in text


def test_a_lost_request_is_complained_of(results: list[Result], tally: Tally) -> None:
    tally.failed(None, "502: Bad Gateway", seconds=0.1, at=0)
    tally.failed("v2", "503: busy", seconds=0.1, at=0)
    assert complaints(CHAPTERS, results, tally) == ["2 requests failed that stable would have answered"]
    assert "no model answered" in printed(results, tally)
    assert "nobody: 502: Bad Gateway" in examples_of_failures(tally)


def test_a_chapter_left_out_is_complained_of(results: list[Result], tally: Tally) -> None:
    assert complaints(CHAPTERS, results[:3], tally) == ["v4-broken was not tried"]


def test_a_wrong_ending_is_complained_of(results: list[Result], tally: Tally) -> None:
    results[1] = replace(results[1], outcome=Outcome("rolled back", "v1", "noise"))
    assert "v2 was rolled back, not promoted" in complaints(CHAPTERS, results, tally)


def test_a_version_without_traffic_is_complained_of(results: list[Result], tally: Tally) -> None:
    del tally.versions["v3-slow"]
    assert complaints(CHAPTERS, results, tally) == ["no real request reached v3-slow"]


def test_errors_that_no_client_saw_are_complained_of(results: list[Result], tally: Tally) -> None:
    tally.versions["v4-broken"].failed = 0
    assert complaints(CHAPTERS, results, tally) == ["v4-broken was rolled back on errors, but the client saw none"]


def test_a_promoted_version_must_be_seen_to_be_better(results: list[Result], tally: Tally) -> None:
    tally.versions["v2"].right = 80
    assert complaints(CHAPTERS, results, tally) == ["v2 was promoted, but the client saw it no more accurate than v1"]
