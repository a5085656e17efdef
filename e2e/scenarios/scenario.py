"""The decorator that makes a test of a coroutine function which is played in a Place."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest

from e2e.scenarios.stage import Stage
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS, QUIET, Entry, Plan, in_order

Play = Callable[..., Awaitable[None]]


def scenario(
    *, seconds: float, needs: Collection[str] = (OPERATOR, PROMETHEUS, QUIET), breaks: Collection[str] = ()
) -> Callable[[Play], Callable[..., None]]:
    """A test marked e2e. The function's first argument is its Place; others come from `pytest.mark.parametrize`.

    It is played at the same time as others that need no part of the cluster which it breaks, and may take `seconds`.
    """
    plan = Plan(frozenset(needs), frozenset(breaks), seconds)

    def decorate(play: Play) -> Callable[..., None]:
        def test(stage: Stage, request: pytest.FixtureRequest, **_row: object) -> None:
            stage.result(name_of(request.node))

        rows = list(inspect.signature(play).parameters.values())[1:]
        own = [p for p in inspect.signature(test).parameters.values() if p.kind is not p.VAR_KEYWORD]
        test.__signature__ = inspect.Signature([*own, *rows])  # type: ignore[attr-defined]
        test.__wrapped__ = play  # type: ignore[attr-defined]
        test.__name__, test.__qualname__ = play.__name__, play.__qualname__
        test.__doc__, test.__module__ = play.__doc__, play.__module__
        test.plan = plan  # type: ignore[attr-defined]
        marked: Callable[..., None] = pytest.mark.e2e(test)
        return marked

    return decorate


def timetable(items: list[pytest.Item]) -> dict[Entry, Play]:
    """The scenarios among the tests that pytest is about to run, with the functions that play them."""
    plays: dict[Entry, Play] = {}
    for item in items:
        function: Any = getattr(item, "function", None)
        if isinstance(getattr(function, "plan", None), Plan):
            row = item.callspec.params if hasattr(item, "callspec") else {}
            plays[Entry(name_of(item), function.plan, row)] = function.__wrapped__
    return {entry: plays[entry] for entry in in_order(plays)}


def name_of(item: pytest.Item) -> str:
    """`test_promotion` is `promotion`; `test_not_ready[no-secret]` is `not-ready-no-secret`. Fit for a namespace."""
    name = item.name.removeprefix("test_").replace("[", "-").rstrip("]")
    return name.replace("_", "-").replace(" ", "-").lower()[:59].rstrip("-")
