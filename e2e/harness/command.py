"""Commands with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.harness.errors import HarnessError

_TAIL = 25


async def output(command: Sequence[str | Path], *, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints to its standard output; `environment` is added to this process's own.

    Raises HarnessError, with the end of what it printed, when it fails, is missing or takes longer than `seconds`.
    """
    shown = shlex.join(str(word) for word in command)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError:
        raise HarnessError(f"`{command[0]}` is not there: run `make cluster` again.") from None
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        raise HarnessError(f"`{shown}` took more than {seconds:.0f} s.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = (out + err).decode(errors="replace").splitlines()[-_TAIL:]
        raise HarnessError("\n    ".join([f"`{shown}` ended with status {process.returncode}:", *said]))
    return out.decode(errors="replace")
