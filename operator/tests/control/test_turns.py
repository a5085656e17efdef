"""Who works when, on exact time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from haldane.control.turns import Turns

Run = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("owners", "ends"),
    [
        ("aaaa", [1, 1, 2, 2]),
        ("aaaabb", [1, 1, 2, 2, 1, 2]),
        ("aaaaaabc", [1, 1, 2, 2, 3, 3, 1, 2]),
    ],
)
def test_an_owner_waits_for_his_own_work_first(run_exactly: Run, owners: str, ends: list[int]) -> None:
    """Three slots, two of them for one owner; each piece of work takes a second."""

    async def main() -> list[float]:
        turns = Turns(at_once=3, each=2)

        async def work(owner: str) -> float:
            async with turns.of(owner):
                await asyncio.sleep(1.0)
            return asyncio.get_running_loop().time()

        return list(await asyncio.gather(*map(work, owners)))

    assert run_exactly(main()) == ends


def test_who_gives_up_waiting_leaves_his_turn_to_others(run_exactly: Run) -> None:
    async def main() -> float:
        turns = Turns(at_once=1, each=1)

        async def work() -> None:
            async with turns.of("a"):
                await asyncio.sleep(1.0)

        works = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0.5)
        works[1].cancel()
        await asyncio.wait(works)
        return asyncio.get_running_loop().time()

    assert run_exactly(main()) == 2.0
