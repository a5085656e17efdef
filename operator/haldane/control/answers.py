"""Waits for the answers to several questions, for so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from haldane.control.ports import Answer, Unavailable


async def within(seconds: float, asked: Mapping[str, Coroutine[Any, Any, Answer]]) -> dict[str, Answer]:
    """Ask Prometheus everything at once; what takes longer than `seconds` is Unavailable."""
    tasks = {name: asyncio.create_task(query) for name, query in asked.items()}
    try:
        _, late = await asyncio.wait(tasks.values(), timeout=seconds)
    finally:
        for task in tasks.values():
            task.cancel()
    too_late = Unavailable(f"Prometheus did not answer within {seconds:g} s")
    return {name: too_late if task in late else task.result() for name, task in tasks.items()}
