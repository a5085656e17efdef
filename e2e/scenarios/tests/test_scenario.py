"""A coroutine function becomes a test, and a test a name that is fit for a namespace."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from e2e.scenarios.place import Place
from e2e.scenarios.scenario import name_of, scenario, timetable
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS


@scenario(seconds=5, needs=[PROMETHEUS], breaks=[OPERATOR])
async def breaks(place: Place) -> None:
    """It breaks the operator."""


@scenario(seconds=9)
async def with_rows(place: Place, cause: str) -> None:
    """It has a row."""


def item(name: str, function: Any, **row: object) -> Any:
    known: dict[str, Any] = {"name": name, "function": function}
    return SimpleNamespace(**known, callspec=SimpleNamespace(params=row)) if row else SimpleNamespace(**known)


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("test_promotion", "promotion"),
        ("test_not_ready[no-secret]", "not-ready-no-secret"),
        ("test_Rows[a b]", "rows-a-b"),
        ("test_" + "long_" * 20, "long-long-long-long-long-long-long-long-long-long-long-long"),
    ],
)
def test_names_are_fit_for_a_namespace(test: str, name: str) -> None:
    assert name_of(item(test, None)) == name
    assert len(f"e2e-{name}") <= 63


def test_pytest_sees_the_fixtures_and_the_rows_but_not_the_place() -> None:
    assert list(inspect.signature(with_rows).parameters) == ["stage", "request", "cause"]
    assert not inspect.iscoroutinefunction(with_rows)
    assert with_rows.__doc__ == "It has a row."


def test_the_timetable_has_the_selected_scenarios_with_their_rows_and_nothing_else() -> None:
    plays = timetable(
        [item("test_breaks", breaks), item("test_other", len), item("test_rows[x]", with_rows, cause="x")]
    )
    entries = list(plays)
    assert [entry.name for entry in entries] == ["rows-x", "breaks"]
    assert [entry.row for entry in entries] == [{"cause": "x"}, {}]
    assert [entry.plan.seconds for entry in entries] == [9, 5]
    assert all(inspect.iscoroutinefunction(play) for play in plays.values())
