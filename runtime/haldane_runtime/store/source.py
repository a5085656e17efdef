"""A remote place that a model can be read from."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

# Small enough that a slow transfer shows progress, and that a kill loses next to nothing.
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


class Source(Protocol):
    def entries(self) -> list[Entry]:
        """The model's files, `model.onnx` among them; a single file is called `model.onnx`.

        Raises:
            LoadError: ModelNotFound, AccessDenied, StorageUnreachable, InvalidConfiguration.
        """
        ...

    def read(self, entry: Entry, offset: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of `entry` from `offset` on.

        Raises:
            LoadError: as `entries`.
            Interrupted: while reading.
        """
        ...
