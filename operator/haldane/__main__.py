"""`haldane-operator`: runs the operator until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from haldane import settings
from haldane.control.errors import Terminal
from haldane.shell import configure, logs


def main() -> None:
    """Exit status 0 after SIGTERM, 1 when a part failed, 2 when the environment has to be corrected first."""
    try:
        read = settings.load()
        logs.configure(read.log_level)
        ended_well = asyncio.run(configure.run(read))
    except (settings.InvalidSettings, Terminal) as problem:
        print(f"haldane-operator: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(0 if ended_well else 1)


if __name__ == "__main__":
    main()
