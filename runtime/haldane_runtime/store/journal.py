"""What of a download is on the disk for certain.

A file arrives in several ranges at once, so that its length says nothing. The journal names the blocks
that are whole, with their sha256: a process that is killed leaves a journal that ends at any byte, and
a machine that loses power one whose blocks never reached the disk. Both are found by reading again.
"""

import hashlib
import os
from pathlib import Path

from haldane_runtime.store.source import Entry

BLOCK_BYTES = 1 << 20


class Journal:
    """Lines of `<number of the file> <number of the block> <sha256>`; `add` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._blocks: dict[int, dict[int, bytes]] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                self._take(line)
        # Not closed by a download that fails, whose other threads may still write: it is when the last has ended.
        self._file = path.open("ab", buffering=0)
        # Ends a line that was cut off.
        self._file.write(b"\n")

    def add(self, number: int, block: int, content: bytes | bytearray) -> None:
        """To be called once `content` has been written."""
        digest = hashlib.sha256(content).hexdigest()
        self._file.write(b"%d %d %s\n" % (number, block, digest.encode()))

    def missing(self, number: int, entry: Entry, path: Path) -> list[tuple[int, int]]:
        """The parts of a file, as [start, end), that are not at `path` as the journal says; neighbours are joined.

        Raises:
            OSError: when the file cannot be read.
        """
        assert entry.size is not None
        claimed = self._blocks.get(number, {}) if path.is_file() else {}
        gaps: list[tuple[int, int]] = []
        with path.open("rb") if claimed else open(os.devnull, "rb") as file:
            for block, start in enumerate(range(0, entry.size, BLOCK_BYTES)):
                end = min(entry.size, start + BLOCK_BYTES)
                if block in claimed:
                    file.seek(start)
                    if hashlib.sha256(file.read(end - start)).digest() == claimed[block]:
                        continue
                if gaps and gaps[-1][1] == start:
                    gaps[-1] = (gaps[-1][0], end)
                else:
                    gaps.append((start, end))
        return gaps

    def close(self) -> None:
        self._file.close()

    def _take(self, line: bytes) -> None:
        words = line.split(b" ")
        try:
            number, block, digest = int(words[0]), int(words[1]), bytes.fromhex(words[2].decode())
        except (ValueError, IndexError):
            return
        self._blocks.setdefault(number, {})[block] = digest
