"""Several questions at once, on exact time: what came in time is kept, and nothing is waited for beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from haldane.control import answers
from haldane.control.ports import Answer, Series, Unavailable

Run = Callable[[Any], Any]

VALUE: Answer = (Series({}, 1.0),)


def test_what_is_late_is_unavailable_and_no_longer_asked(run_exactly: Run) -> None:
    given_up: list[float] = []

    async def answer(seconds: float) -> Answer:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            given_up.append(seconds)
            raise
        return VALUE

    async def run() -> tuple[dict[str, Answer], float]:
        asked = {name: answer(seconds) for name, seconds in {"quick": 1.0, "slow": 4.0, "late": 9.0}.items()}
        found = await answers.within(5.0, asked)
        took = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return found, took

    late = Unavailable("Prometheus did not answer within 5 s")
    assert run_exactly(run()) == ({"quick": VALUE, "slow": VALUE, "late": late}, pytest.approx(5.0))
    assert given_up == [9.0]


def test_nothing_is_waited_for_when_all_have_answered(run_exactly: Run) -> None:
    async def answer(seconds: float) -> Answer:
        await asyncio.sleep(seconds)
        return VALUE

    async def run() -> float:
        await answers.within(5.0, {"one": answer(2.0), "other": answer(3.0)})
        return asyncio.get_running_loop().time()

    assert run_exactly(run()) == pytest.approx(3.0)
