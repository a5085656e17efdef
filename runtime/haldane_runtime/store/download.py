"""From a source into the staging folder: in ranges, several at once, and going on from what is there."""

import functools
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.journal import BLOCK_BYTES, Journal
from haldane_runtime.store.pace import PATIENCE_SECONDS, Pace
from haldane_runtime.store.source import Entry, Interrupted, Replaced, Source

RANGE_BYTES = 8 << 20
# In a row and without a byte of progress, for one range.
FRUITLESS_ATTEMPTS = 8
# For a file that has to be read from its start each time.
WHOLE_ATTEMPTS = 4
BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 2.0
WATCH_SECONDS = 0.5


def download(
    source: Source,
    entries: list[Entry],
    folder: Path,
    sleep: Callable[[float], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Bring every entry into `folder/model`; blocks that an earlier process left whole are kept.

    At most `source.parallel` ranges are under way at once, and at most one block of each in memory.

    Raises:
        LoadError: as the source does; StorageUnreachable when transfers keep breaking off or crawl;
            LoadFailed when there is no room.
        OSError: when the disk refuses.
    """
    files = [_File(number, entry, folder / "model" / entry.path) for number, entry in enumerate(_sorted(entries))]
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
    _require_room(folder, files)
    journal = Journal(folder / "journal")
    pool = ThreadPoolExecutor(source.parallel, thread_name_prefix="download")
    stop = threading.Event()
    try:
        gaps = pool.map(functools.partial(_gaps, journal), files)
        jobs = [job for file, missing in zip(files, gaps, strict=True) for job in _jobs(file, missing, source.parallel)]
        transfer = _Transfer(source, journal, Pace(clock), stop, sleep or stop.wait, jobs)
        workers = {pool.submit(transfer.work) for _ in range(min(source.parallel, len(jobs)))}
        while workers:
            finished, workers = wait(workers, timeout=WATCH_SECONDS, return_when=FIRST_COMPLETED)
            for worker in finished:
                worker.result()
            if workers:
                transfer.require_movement()
    except Replaced:
        shutil.rmtree(folder / "model", ignore_errors=True)
        raise
    finally:
        stop.set()
        # A thread that waits for the network ends at its next chunk or time-out: too long to keep the cause waiting.
        pool.shutdown(wait=False, cancel_futures=True)
    journal.close()


@dataclass(frozen=True, slots=True)
class _File:
    number: int
    entry: Entry
    path: Path

    @property
    def resumable(self) -> bool:
        """Without a tag nothing says that the rest would belong to the same content."""
        return self.entry.size is not None and bool(self.entry.tag)


@dataclass(frozen=True, slots=True)
class _Job:
    """Bytes [start, end) of a resumable file; the whole of another one."""

    file: _File
    start: int
    end: int


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    """The numbers of files in the journal must be those of the last start."""
    return sorted(entries, key=lambda entry: entry.path)


def _jobs(file: _File, gaps: list[tuple[int, int]], parallel: int) -> list[_Job]:
    if not file.resumable:
        return [_Job(file, 0, 0)]
    jobs = []
    for start, end in gaps:
        step = RANGE_BYTES if parallel > 1 else end - start
        jobs += [_Job(file, at, min(end, at + step)) for at in range(start, end, step)]
    return jobs


def _require_room(folder: Path, files: list[_File]) -> None:
    needed = 0
    for file in files:
        there = file.path.stat().st_blocks * 512 if file.path.is_file() else 0
        needed += max(0, (file.entry.size or 0) - there)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise LoadError(
            Reason.LOAD_FAILED,
            f"The cache has no room for the model: it needs {_size(needed)} more and {_size(free)} are free in "
            f"{folder.parents[1]}; give that volume more space.",
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _gaps(journal: Journal, file: _File) -> list[tuple[int, int]]:
    """What is missing of a resumable file, which exists afterwards with its final size."""
    if not file.resumable or file.entry.size is None:
        return []
    missing = journal.missing(file.number, file.entry, file.path)
    with file.path.open("ab") as data:
        data.truncate(file.entry.size)
    return missing


class _Transfer:
    """What the threads of one download share."""

    def __init__(
        self,
        source: Source,
        journal: Journal,
        pace: Pace,
        stop: threading.Event,
        sleep: Callable[[float], object],
        jobs: Iterable[_Job],
    ) -> None:
        self._source = source
        self._journal = journal
        self._pace = pace
        self._stop = stop
        self._sleep = sleep
        self._jobs = deque(jobs)
        self._failure = ""

    def require_movement(self) -> None:
        """Raises: LoadError: StorageUnreachable, when no connection brings anything any more."""
        if self._pace.stalled:
            last = f" The last attempt ended with: {self._failure}." if self._failure else ""
            raise LoadError(
                Reason.STORAGE_UNREACHABLE,
                f"The download stands still: next to nothing arrived in {PATIENCE_SECONDS:.0f} s.{last}",
            )

    def work(self) -> None:
        """Bring ranges until none is left or another thread has failed."""
        while not self._stop.is_set():
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            self._bring(job)

    def _bring(self, job: _Job) -> None:
        descriptor = os.open(job.file.path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            if job.file.resumable:
                self._range(job, descriptor)
            else:
                self._whole(job.file, descriptor)
        finally:
            os.close(descriptor)
        self._pace.finished()

    def _range(self, job: _Job, descriptor: int) -> None:
        entry, position, fruitless = job.file.entry, job.start, 0
        block = bytearray()
        while position < job.end:
            reached = position
            failure: Exception = Interrupted("the answer ended early")
            try:
                with self._source.read(entry, position, job.end) as chunks:
                    for chunk in chunks:
                        self._received(chunk)
                        if position + len(chunk) > job.end:
                            raise Replaced(entry.path)
                        position += len(chunk)
                        self._store(job.file, descriptor, block, chunk, position)
            except (Interrupted, LoadError) as error:
                failure = _transient(error)
            if position < job.end:
                fruitless = 0 if position > reached else fruitless + 1
                self._again(entry, failure, fruitless, FRUITLESS_ATTEMPTS)

    def _store(self, file: _File, descriptor: int, block: bytearray, chunk: bytes, position: int) -> None:
        """Add `chunk`, which ends at `position`, to `block`, and write every block that becomes whole."""
        rest = memoryview(chunk)
        while rest:
            # Ranges begin at blocks, so that a block is what lies between two multiples of its size.
            start = position - len(rest) - len(block)
            room = min(BLOCK_BYTES, (file.entry.size or 0) - start) - len(block)
            block += rest[:room]
            rest = rest[room:]
            if len(block) == min(BLOCK_BYTES, (file.entry.size or 0) - start):
                _write(descriptor, block, start)
                self._journal.add(file.number, start // BLOCK_BYTES, block)
                block.clear()

    def _whole(self, file: _File, descriptor: int) -> None:
        attempt = 0
        while True:
            os.ftruncate(descriptor, 0)
            position = 0
            try:
                with self._source.read(file.entry, 0, None) as chunks:
                    for chunk in chunks:
                        self._received(chunk)
                        _write(descriptor, chunk, position)
                        position += len(chunk)
                if file.entry.size in (None, position):
                    return
                failure: Exception = Interrupted(f"it ended after {position} of {file.entry.size} bytes")
            except (Interrupted, LoadError) as error:
                failure = _transient(error)
            attempt += 1
            self._again(file.entry, failure, attempt, WHOLE_ATTEMPTS)

    def _received(self, chunk: bytes) -> None:
        if self._stop.is_set():
            raise Stopped
        self._pace.received(len(chunk))

    def _again(self, entry: Entry, failure: Exception, attempt: int, attempts: int) -> None:
        """Wait before the next attempt, or give up."""
        self._failure = _line(failure)
        if attempt >= attempts or self._pace.stalled:
            raise LoadError(
                Reason.STORAGE_UNREACHABLE, f"The download of {entry.path} keeps breaking off: {self._failure}."
            ) from failure
        self._sleep(min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempt))
        if self._stop.is_set():
            raise Stopped


class Stopped(Exception):
    """Another thread of the download has failed."""


def _transient(error: Exception) -> Exception:
    """`error`, when another attempt may mend it; else raises it."""
    if isinstance(error, LoadError) and error.reason is not Reason.STORAGE_UNREACHABLE:
        raise error
    return error


def _write(descriptor: int, data: bytes | bytearray, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _line(error: Exception) -> str:
    return str(error).rstrip(".")
