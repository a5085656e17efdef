"""A remote place that a model can be read from."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from haldane_runtime.core.errors import LoadError, Reason

# Small enough that a slow transfer shows progress.
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A remote file: `path` is relative to the model's folder, `size` in bytes (None when untold).

    `tag` changes whenever the content does (an ETag); empty when the server gives none.
    """

    path: str
    size: int | None
    tag: str


class Interrupted(Exception):
    """A transfer broke off; asking again from where it stopped may succeed."""


class Replaced(LoadError):
    """The file is no longer the one that `Source.entries` told of; nothing read so far belongs to the new one."""

    def __init__(self, what: str) -> None:
        super().__init__(Reason.LOAD_FAILED, f"{what} was replaced while it was being read; start again.")


class Source(Protocol):
    @property
    def parallel(self) -> int:
        """How many ranges may be read at the same time, each by a thread of its own."""
        ...

    def entries(self) -> list[Entry]:
        """The model's files, `model.onnx` among them; a single file is called `model.onnx`.

        Raises:
            LoadError: ModelNotFound, AccessDenied, StorageUnreachable, InvalidConfiguration.
        """
        ...

    def read(self, entry: Entry, start: int, end: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of `entry` from `start` to before `end`, to its end when that is None.

        Raises:
            LoadError: as `entries`; Replaced when the content is not that of `entry.tag` any more.
            Interrupted: while reading.
        """
        ...
