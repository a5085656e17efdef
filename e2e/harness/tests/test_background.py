"""What goes on in the background ends with what it goes on beside."""

from __future__ import annotations

import asyncio

import pytest

from e2e.harness.background import in_background
from e2e.harness.errors import HarnessError


async def test_all_go_on_until_the_context_is_left_and_have_ended_then() -> None:
    seen: list[str] = []

    async def goes_on(name: str) -> None:
        seen.append(f"{name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append(f"{name} ends")

    async def fails_beside_them() -> None:
        async with in_background(goes_on("one"), goes_on("other")):
            await asyncio.sleep(0)
            assert seen == ["one begins", "other begins"]
            raise HarnessError("not in time")

    with pytest.raises(HarnessError, match="not in time"):
        await fails_beside_them()
    assert seen[2:] == ["one ends", "other ends"]


async def test_one_that_fails_ends_neither_the_context_nor_the_others() -> None:
    went_on = asyncio.Event()

    async def fails() -> None:
        raise HarnessError("it broke off")

    async def goes_on() -> None:
        await asyncio.sleep(0)
        went_on.set()

    async with in_background(fails(), goes_on()):
        await went_on.wait()
