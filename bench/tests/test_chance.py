"""How often a case ends how: one row, and that the spec of a case can be played at all."""

from __future__ import annotations

from bench.rivals.cases import CASES
from bench.rivals.chance import KEYS, courses, line
from haldane.simulate.rollout import Course


def test_a_row_tells_shares_and_times() -> None:
    good, bad = Course("promoted", 110, first_weight=10), Course("rolled back", 30, first_weight=10)
    row = line(CASES[0], [good, good, bad, Course(first_weight=10)])
    assert row == "| 1 healthy | 50.00 % | 25.00 % | 25.00 % | 100 s, 100 s, 100 s |"
    assert line(CASES[0], [Course()]).endswith("| 100.00 % |  |")


def test_a_case_is_played_by_its_own_spec() -> None:
    assert set(KEYS) <= {case.key for case in CASES}
    (course,) = courses("2", 1, 1)
    assert (course.outcome, course.check) == ("rolled back", "errors")
