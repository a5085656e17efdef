import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench.runtime import goals, plan, report
from bench.runtime.loads import Reading
from bench.runtime.results import ECHO, ECHO_AND_RUN, LIMIT, Results
from bench.runtime.servers import SERVERS
from bench.runtime.statistics import summarise

Make = Callable[..., Reading]


@pytest.fixture
def results(reading: Make) -> Results:
    found = Results({"cores": "2 of 2"})
    for server, rate in (("haldane", 30.0), ("triton", 20.0), ("kserve", 2.0), ("fastapi", 5.0)):
        found.add(server, "json c=64", reading(rate))
        found.add_open(server, 0.8 * rate, reading(0.8 * rate, p99=1 / rate))
    for rate in (16.0, 1.6, 4.0):
        found.add_open("haldane", rate, reading(rate, p99=0.4 / (rate / 0.8)))
    found.add("haldane", "json c=1", reading(10, p50=120e-6))
    found.add(ECHO, "json c=1", reading(10, p50=70e-6))
    found.add(ECHO_AND_RUN, "json c=1", reading(10, p50=100e-6))
    found.add(LIMIT, "mlp 1 callers, 1 threads", reading(10, p50=20e-6))
    return found


def test_summary_is_the_median_with_its_spread(reading: Make) -> None:
    seen = summarise([reading(90, p99=0.5), reading(110, p99=0.1), reading(100, p99=0.2, timeout=1)])
    assert (seen.rate, seen.low, seen.high, seen.spread) == (100, 90, 110, 0.1)
    assert (seen.p99, seen.p99_low, seen.p99_high, seen.failed) == (0.2, 0.1, 0.5, 1)


def test_goals_are_judged_on_the_strongest_peer(results: Results) -> None:
    verdicts = {verdict.goal: verdict for verdict in goals.judge(results, SERVERS)}
    assert verdicts["JSON, c = 64: at least 1.3 times Triton"].met
    assert verdicts["JSON, c = 64: at least 10 times every Python peer"].measured == "15.00 (KServe 0.21)"
    assert verdicts["JSON, c = 64: at least 5 times the FastAPI route"].measured == "6.00"
    assert verdicts["JSON, c = 1, p50: at most 1.3 times raw ASGI echo plus raw session.run"].measured.startswith(
        "1.20"
    )
    assert "gRPC, c = 64: at least 1 times Triton" not in verdicts


def test_tail_is_compared_at_the_peer_s_own_rate(results: Results, reading: Make) -> None:
    [tail] = [verdict for verdict in goals.judge(results, SERVERS) if "open loop" in verdict.goal]
    assert tail.met
    results.add_open("litserve", 40.0, reading(40))
    [tail] = [verdict for verdict in goals.judge(results, SERVERS) if "open loop" in verdict.goal]
    assert not tail.met, "a rate that only the peer reaches is lost"


def test_every_two_servers_meet_at_the_same_rates() -> None:
    rates = plan.open_rates({"haldane": 100, "triton": 50, "ray": 1}, "haldane", quick=False)
    assert rates == {"haldane": [0.8, 40, 80], "triton": [0.8, 40], "ray": [0.8]}
    quick = plan.open_rates({"haldane": 100, "triton": 50, "ray": 1}, "haldane", quick=True)
    assert quick == {"haldane": [0.8, 40, 80], "triton": [40], "ray": [0.8]}


def test_each_round_begins_with_another_server() -> None:
    assert [plan.turn(SERVERS, number)[0].name for number in range(len(SERVERS) + 1)] == [
        *(server.name for server in SERVERS),
        SERVERS[0].name,
    ]


def test_a_server_is_asked_only_what_it_speaks() -> None:
    fastapi = next(server for server in SERVERS if server.name == "fastapi")
    wires = {cell.wire for cell in plan.cells(fastapi, "mlp", plan.NAMES, quick=False)}
    assert wires == {"json", "binary"}


def test_tables_name_every_server(results: Results) -> None:
    text = report.markdown(results, SERVERS, "plot.svg")
    assert "| Triton 2.51 | " in text
    assert "![" in text
    assert report.show(results, SERVERS, Console(quiet=True)) == 0


def test_noise_and_failures_are_told(reading: Make) -> None:
    found = Results({})
    found.add("haldane", "json c=64", reading(10, status=4))
    assert report.notes(found) == ["haldane, json c=64: 4 requests failed."]


def test_tables_go_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.publish(readme, "new")
    assert readme.read_text() == f"before\n{report.BEGIN}\n\nnew\n{report.END}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks"):
        report.publish(readme, "new")


def test_the_published_plot_shows_every_server_in_every_panel_that_it_is_measured_in() -> None:
    """The plot is drawn in an environment of its own, so that what is published is looked at."""
    published = Path(report.__file__).parent / "results"
    found = json.loads((published / "results.json").read_text())
    texts = Counter(re.findall(r">([^<]+)</text>", (published / "plot.svg").read_text()))
    panels = ("json c=64", "binary c=64", "grpc c=64", "trees c=64", "image c=16")
    for server, title in found["titles"].items():
        bars = sum(panel in found["closed"].get(server, {}) for panel in panels)
        assert texts[title] == bars + (server in found["open"]), title
