"""`make bench` makes every measurement, and its end says which goals were missed."""

from collections.abc import Sequence
from importlib.util import find_spec

from bench.__main__ import STEPS, run_all, summary, worst


def test_a_missed_goal_stops_nothing_and_is_told_at_the_end() -> None:
    ran: list[str] = []

    def run(command: Sequence[str]) -> int:
        ran.append(command[2])
        return {"bench.first": 1, "bench.second": 3}.get(command[2], 0)

    statuses = run_all(["first", "second --quick", "third"], run)
    assert ran == ["bench.first", "bench.second", "bench.third"]
    assert statuses == {"first": 1, "second --quick": 3, "third": 0}
    assert worst(statuses) == 2
    assert summary(statuses).splitlines() == [
        "first           a goal is missed, or it broke off: see above",
        "second --quick  could not be measured (exit status 3)",
        "third           every goal is met",
    ]
    assert (worst({"a": 0}), worst({"a": 0, "b": 1}), worst({"a": -9, "b": 1})) == (0, 1, 2)


def test_every_step_is_a_module() -> None:
    assert all(find_spec(f"bench.{step.split()[0]}") for step in STEPS)
