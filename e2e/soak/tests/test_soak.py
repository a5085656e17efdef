"""What is played side by side ends side by side."""

from __future__ import annotations

import asyncio

import pytest

from e2e.harness.errors import HarnessError
from e2e.soak.soak import together


async def test_one_that_fails_ends_the_others() -> None:
    ended: list[str] = []

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("the other")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise HarnessError("kubectl could not apply")

    with pytest.raises(HarnessError):
        await together(goes_on(), fails())
    assert ended == ["the other"]
