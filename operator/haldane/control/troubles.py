"""Why the cluster does not follow what was decided: the next pass tells it, and finds out again."""

from __future__ import annotations

from haldane.control.store import Key


class Troubles:
    """What stood in the way of the last pass over each object."""

    def __init__(self) -> None:
        self._refusals: dict[Key, str] = {}
        self._failures: dict[Key, str] = {}

    def refusal(self, key: Key) -> str | None:
        """Why the API server refused a child."""
        return self._refusals.get(key)

    def failure(self, key: Key) -> str | None:
        """Why a pass failed that may succeed by itself: it is shown only when something waits for too long."""
        return self._failures.get(key)

    def done(self, key: Key, refusal: str | None) -> None:
        """A pass came to its end, with what was refused in it."""
        self._failures.pop(key, None)
        if refusal is None:
            self._refusals.pop(key, None)
        else:
            self._refusals[key] = refusal

    def failed(self, key: Key, reason: str) -> None:
        """A pass did not come to its end: nothing new is known of what is refused."""
        self._failures[key] = reason

    def forget(self, key: Key) -> None:
        """Drop what is known of an object that is gone."""
        self._refusals.pop(key, None)
        self._failures.pop(key, None)
