"""Who waits for the holders of a thing hears of the last one, or gives up in time."""

import asyncio

from haldane_runtime.core.holders import Holders

LATER = 30.0


async def test_the_last_one_to_leave_ends_the_wait() -> None:
    holders = Holders()
    await asyncio.wait_for(holders.gone(LATER), LATER)
    holders.hold()
    holders.hold()
    waiting = asyncio.create_task(holders.gone(LATER))
    await asyncio.sleep(0)
    holders.release()
    await asyncio.sleep(0)
    assert not waiting.done()
    holders.release()
    await asyncio.wait_for(waiting, LATER)


async def test_one_that_never_leaves_is_waited_for_no_longer_than_that() -> None:
    holders = Holders()
    holders.hold()
    await asyncio.wait_for(holders.gone(0.001), LATER)
    # Afterwards nobody listens.
    holders.release()
