"""The time of day as the control loop's `Clock`."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Implements `control.ports.Clock` by the machine's clock."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)
