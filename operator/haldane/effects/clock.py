"""The time of day as the control loop's `Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `control.ports.Clock` by the machine's clocks."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    def steady(self) -> float:
        """See `Clock`."""
        return time.monotonic()
