"""What is written in a namespace, kept while it happens: the API server itself forgets after little more than a minute."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rest import Body, Rest

EVERY_SECONDS = 15.0
"""The API server's watch cache keeps what is younger than 75 s, and often no more."""
END_SECONDS = 60.0


class Recording:
    """Every version of a namespace's objects of some kinds, from when it is made to `stop()`."""

    def __init__(self, rest: Rest, namespace: str, *kinds: str) -> None:
        self._rest = rest
        self._namespace = namespace
        self._since = {kind: rest.version(kind, namespace) for kind in kinds}
        self._versions: dict[str, list[tuple[str, Body]]] = {kind: [] for kind in kinds}
        self._problem: Exception | None = None
        self._ending = Event()
        self._thread = Thread(target=self._follow, name=f"recording of {namespace}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read what was written up to now, and no more. Raises what kept it from recording everything."""
        self._ending.set()
        self._thread.join(END_SECONDS)
        if self._problem:
            raise self._problem
        assert not self._thread.is_alive(), f"the API server did not tell its history within {END_SECONDS:g} s"

    def versions(self, kind: str) -> list[tuple[str, Body]]:
        """What became of each object of a kind, and the object, in order. Stops the recording."""
        self.stop()
        return list(self._versions[kind])

    def _follow(self) -> None:
        try:
            while not self._ending.wait(EVERY_SECONDS):
                self._read()
            self._read()
        except Exception as problem:
            self._problem = problem

    def _read(self) -> None:
        for kind, since in self._since.items():
            # Taken before the history, so that nothing falls between this reading and the next.
            now = self._rest.version(kind, self._namespace)
            found = self._rest.history(kind, self._namespace, since)
            self._versions[kind] += found
            self._since[kind] = found[-1][1]["metadata"]["resourceVersion"] if found else now
