"""From a source into the staging folder, file by file, resuming what is there."""

import time
from collections.abc import Callable
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.source import Entry, Interrupted, Replaced, Source

# In a row and without a byte of progress; each costs at most one connection's own bounded retries.
FRUITLESS_ATTEMPTS = 2
BACKOFF_SECONDS = 0.5


def download(source: Source, entries: list[Entry], folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring every entry into `folder/model`; what an earlier process left of the same content is kept.

    Raises:
        LoadError: as the source does; StorageUnreachable when transfers keep breaking off.
    """
    (folder / "part").mkdir(exist_ok=True)
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.path)):
        target = folder / "model" / entry.path
        if target.is_file() and entry.tag and target.stat().st_size == entry.size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = folder / "part" / str(number)
        if not entry.tag:
            # Without a tag nothing says that the rest would belong to the same content.
            part.unlink(missing_ok=True)
        _transfer(source, entry, part, sleep)
        part.rename(target)


def _transfer(source: Source, entry: Entry, part: Path, sleep: Callable[[float], None]) -> None:
    fruitless = 0
    while True:
        offset = part.stat().st_size if part.exists() else 0
        if entry.size is not None and offset > entry.size:
            part.unlink()
            continue
        if entry.size is not None and offset == entry.size and offset:
            return
        try:
            _append(source, entry, part, offset)
        except Replaced:
            part.unlink(missing_ok=True)
            raise
        except Interrupted as error:
            failure: Interrupted = error
        else:
            if entry.size is None or part.stat().st_size == entry.size:
                return
            failure = Interrupted(f"it ended after {part.stat().st_size} of {entry.size} bytes")
        reached = part.stat().st_size if part.exists() else 0
        fruitless = 0 if reached > offset else fruitless + 1
        if fruitless >= FRUITLESS_ATTEMPTS:
            raise LoadError(
                Reason.STORAGE_UNREACHABLE, f"The download of {entry.path} keeps breaking off: {failure}."
            ) from failure
        if entry.size is None or not entry.tag:
            part.unlink(missing_ok=True)
        sleep(BACKOFF_SECONDS)


def _append(source: Source, entry: Entry, part: Path, offset: int) -> None:
    with source.read(entry, offset) as chunks, part.open("ab", buffering=0) as file:
        for chunk in chunks:
            file.write(chunk)
