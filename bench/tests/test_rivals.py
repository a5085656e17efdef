"""The pure parts of the comparison on kind: figures, musts, table, order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bench.rivals import faults, report, results
from bench.rivals.app import NEW, OLD, Version, template
from bench.rivals.cases import CASES, EVERYBODY, chosen
from bench.rivals.faults import Rest, usage
from bench.rivals.flagger import STEPS
from bench.rivals.observed import Figures, Request, Requests, Sight, figures
from bench.rivals.priority import share_files
from bench.rivals.results import Results
from bench.rivals.schedule import groups
from e2e.harness.errors import HarnessError
from e2e.harness.kube import Kube


def request(sent: float, version: str | None = NEW, seconds: float = 0.01, failed: bool = False) -> Request:
    return Request(sent, version, seconds, failed)


def seen(**changes: object) -> Figures:
    made = figures(Sight(applied=0.0, outcome="promoted", ended=100.0), NEW)
    return Figures(**{**made.wire(), "pods": 2, **changes})


def must(key: str, **changes: object) -> bool:
    case = next(case for case in CASES if case.key == key)
    return case.must.holds(seen(**changes))


def test_figures_count_from_the_apply() -> None:
    sight = Sight(
        applied=10.0,
        ended=30.0,
        outcome="rolled back",
        reason="errors",
        requests=[
            request(9.0, OLD, failed=True),
            request(12.0),
            request(13.0, failed=True),
            request(14.0, seconds=0.4),
            request(15.0, OLD, seconds=0.4),
            request(16.0, None, failed=True),
            request(20.5),
        ],
        pods={"before": 3.0, "second": 12.5, "first": 10.4},
    )
    found = figures(sight, NEW)
    assert (found.candidate_requests, found.candidate_failed, found.candidate_slow, found.lost) == (4, 1, 1, 1)
    assert (found.seconds, found.span, found.pods) == (20.0, 8.5, 2)
    assert found.rate == pytest.approx(6 / 8.5)
    assert found.first_pod == pytest.approx(0.4)


def test_figures_after_the_old_version_is_back() -> None:
    sight = Sight(applied=0.0, changed_back=50.0, requests=[request(49.0), request(51.5)], pods={"a": 1.0, "b": 52.0})
    found = figures(sight, NEW)
    assert (found.span_after_change, found.pods_after_change, found.outcome) == (1.5, 1, "undecided")
    assert figures(Sight(applied=0.0, changed_back=50.0, requests=[request(49.0)]), NEW).span_after_change == 0.0


def test_requests_keep_each_one_with_the_instant_at_which_it_was_sent() -> None:
    requests = Requests()
    requests.answered(OLD, right=True, seconds=0.5, at=2.0)
    requests.failed(None, "no answer", seconds=1.0, at=4.0)
    assert requests.all == [request(1.5, OLD, 0.5), request(3.0, None, 1.0, failed=True)]


@pytest.mark.parametrize(
    ("key", "changes", "holds"),
    [
        ("1", {}, True),
        ("1", {"seconds": 104.5}, False),
        ("1", {"pods": 4}, False),
        ("1", {"lost": 1}, False),
        ("2", {"outcome": "rolled back", "span": 14.0, "candidate_failed": 15}, True),
        ("2", {"outcome": "rolled back", "span": 15.1, "candidate_failed": 9}, False),
        ("2", {"outcome": "rolled back", "span": None}, False),
        ("3", {"outcome": "held"}, True),
        ("3", {}, False),
        ("4", {"outcome": "rolled back", "candidate_slow": 76}, False),
        ("5", {"outcome": "rolled back", "seconds": 66.0, "reason": "(InvalidModel: no model)"}, True),
        ("5", {"outcome": "rolled back", "seconds": 66.0, "reason": "timed out"}, False),
        ("6", {"outcome": "held", "reason": "weight 5%: holding, no requests arrive"}, True),
        ("6", {"outcome": "rolled back", "reason": "no requests arrive"}, False),
        ("6r", {"outcome": "rolled back", "seconds": 95.0}, True),
        ("6r", {"outcome": "rolled back", "seconds": 60.0}, False),
        ("8", {"candidate_failed": 1}, False),
        ("10", {"outcome": "set back", "span_after_change": 0.4}, True),
        ("10", {"outcome": "set back", "span_after_change": 0.4, "pods_after_change": 1}, False),
    ],
)
def test_musts(key: str, changes: dict[str, object], holds: bool) -> None:
    assert must(key, **changes) is holds


def test_every_case_shows_figures_that_there_are() -> None:
    assert len({case.key for case in CASES}) == len(CASES)
    for case in CASES:
        assert all(name in {"outcome", "reason", "failed", *seen().wire()} for name in case.shows)
        assert case.new.name == NEW
        assert case.old.name == OLD


def test_cases_are_chosen_with_their_variants() -> None:
    assert [case.key for case in chosen({"6", "10"}, "haldane")] == ["6", "6r", "10"]
    assert [case.key for case in chosen({"6", "10"}, "argo")] == ["6", "10"]
    assert [case.key for case in chosen({"9f"}, "argo")] == ["9f"]
    assert len(chosen((), "haldane")) == len(CASES)


def test_what_breaks_the_cluster_is_played_apart() -> None:
    made = groups({name: chosen((), name) for name in EVERYBODY})
    assert all(not entry.case.breaks for entry in made[0])
    assert all(entry.case.breaks for group in made[1:] for entry in group)
    for group in made[1:]:
        assert len({entry.controller for entry in group}) == len(group), "each is killed once"
        assert len({entry.case.key for entry in group}) == 1
    assert sum(len(group) for group in made) == sum(case.tries for name in EVERYBODY for case in chosen((), name))


def test_the_others_may_be_tried_less() -> None:
    made = groups({name: chosen({"7", "8"}, name) for name in ("haldane", "argo")}, tries_of_others=1)
    assert [(e.controller, e.case.key, e.number) for group in made for e in group] == [
        ("haldane", "7", 1),
        ("haldane", "7", 2),
        ("haldane", "7", 3),
        ("argo", "7", 1),
        ("haldane", "8", 1),
        ("argo", "8", 1),
        ("haldane", "8", 2),
    ]


class Cluster:
    def __init__(self) -> None:
        self.said: list[str] = []

    async def kubectl(self, *words: str, seconds: float = 30) -> str:
        self.said.append(words[0])
        return ""


async def test_an_outage_is_one_for_all_who_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "OUTAGE_SECONDS", 0.0)
    cluster, said = Cluster(), list[str]()
    outage = faults.Outage(2, lambda who, what: said.append(what))
    first = asyncio.create_task(outage.happen(cast(Kube, cluster)))
    await asyncio.sleep(0)
    assert cluster.said == []
    await outage.happen(cast(Kube, cluster))
    await first
    assert (cluster.said, said) == (["scale", "scale", "rollout"], ["away", "back"])


def test_the_table_says_what_is_met_and_what_is_missed(tmp_path: Path) -> None:
    found = Results()
    found.set("haldane", "1", [seen(seconds=99.6, first_pod=0.2), seen(seconds=101.4, first_pod=0.4)], "")
    found.set("haldane", "2", [seen(outcome="rolled back", span=12.0), seen(outcome="rolled back", span=16.0)], "")
    found.set("argo", "1", [seen(seconds=None, outcome="rolled back", reason="a | b"), seen()], "")
    found.rest["haldane"] = Rest(120.0, 3.0)
    file = tmp_path / "results.json"
    found.write(file)
    again = results.read(file)
    assert again == found
    lines = report.table(again).splitlines()
    assert lines[0] == "| case | Haldane | Argo Rollouts 1.10.1 | Haldane must |  |"
    assert lines[2].startswith(
        "| 1 healthy | promoted; 100-101 s; 2 pods; 0 failed | rolled back 1 of 2, promoted 1 of 2;"
    )
    assert lines[2].endswith("| at most 104 s, 2 pods, 0 failed | met |")
    assert lines[3].endswith("| missed in 1 of 2 |")
    assert "0.30 s, 0.20 to 0.40, n 2" in lines[4]
    assert lines[5] == "| controller at rest | 120 MiB, 3.0 mCPU |  | at most 150 MiB, 5 mCPU | met |"
    assert report.missed(again) == ["canary fails 20 %"]
    assert results.read(tmp_path / "none.json") == Results()


def test_the_table_is_published_between_its_marks() -> None:
    found = Results()
    found.set(
        "haldane", "2", [seen(outcome="rolled back", reason="errors", rate=49.6)], "2026-01-02, 50 requests/s, load 3.4"
    )
    page = f"# Title\n{report.BEGIN}\nold\n{report.END}\nend\n"
    made = report.published(page, found)
    assert "old" not in made
    assert made.startswith(f"# Title\n{report.BEGIN}\n\n| case | Haldane | Haldane must |")
    assert "- 2, Haldane: errors\n" in made
    assert "Measured on 2026-01-02 with 50 to 50 requests/s really sent to each app; load of the machine 3 to 3" in made
    assert made.endswith(f"{report.END}\nend\n")
    assert report.published(made, found) == made
    with pytest.raises(ValueError, match="marks"):
        report.published("no marks", found)


def test_flaggers_steps_take_as_long_as_a_hold() -> None:
    thirds = [STEPS[i : i + 3] for i in (0, 3, 6)]
    assert all(max(third) - min(third) <= 2 for third in thirds)
    assert list(STEPS) == sorted(set(STEPS)), "it finds its place among the steps by the weight"


def test_the_others_pods_are_the_operators_own_template() -> None:
    made = template("n", Version(NEW, errors=1.9, delay=800), "runtime:1")
    (container,) = made["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["HALDANE_MODEL_URI"] == "s3://models/digits/errors-1.9/model.onnx"
    assert environment["HALDANE_MAX_BATCH_DELAY"] == "0.8"
    assert environment["HALDANE_MODEL_VERSION"] == NEW
    assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    assert made["metadata"]["labels"] == {"app": "app"}
    assert "serviceAccountName" not in made["spec"]


def test_usage_is_read_from_the_kubelets_metrics() -> None:
    text = (
        'pod_cpu_usage_seconds_total{namespace="n",pod="other"} 7 1000\n'
        'pod_cpu_usage_seconds_total{namespace="n",pod="p-1"} 1.5 1763800000123\n'
        'pod_memory_working_set_bytes{namespace="n",pod="p-1"} 1.048576e+06 1763800000123\n'
    )
    assert usage(text, "n", "p-1") == (1763800000.123, 1.5, 1048576.0)
    with pytest.raises(HarnessError, match="p-2"):
        usage(text, "n", "p-2")


@pytest.mark.parametrize(
    ("membership", "form", "top"),
    [("3:cpuset:/a\n1:cpu,cpuacct:/docker/x\n", "cpu.shares", "cpu"), ("0::/docker/x\n", "cpu.weight", ".")],
)
def test_priority_is_raised_from_the_group_up(membership: str, form: str, top: str, tmp_path: Path) -> None:
    group = tmp_path / top / "docker" / "x"
    group.mkdir(parents=True)
    for folder in (group, group.parent, tmp_path / top):
        (folder / form).touch()
    assert share_files(membership, tmp_path) == [group / form, group.parent / form]
    assert share_files("9:pids:/x\n", tmp_path) == []
