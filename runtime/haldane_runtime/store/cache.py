"""The content-addressed cache on disk.

    <cache>/file/<sha256>/model.onnx     a published single file
    <cache>/folder/<sha256>/…            a published folder
    <cache>/source/<key>.json            which digest a URI with these ETags had
    <cache>/partial/<key>/model/…        a download under way, its files at their final sizes
    <cache>/partial/<key>/journal        which of their blocks are whole (see `store.journal`)
    <cache>/partial/<key>.lock           held while a process works there

Publishing is one rename of a finished folder: a reader sees the whole model or none. What a killed
process leaves in `partial` is continued by the next start, and swept once it can be of no use.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.digest import file_digest, folder_digest
from haldane_runtime.store.location import MODEL_FILE
from haldane_runtime.store.lock import FileLock, try_lock
from haldane_runtime.store.source import Entry

log = logging.getLogger(__name__)

# What nobody has gone on with for so long, nobody will.
STALE_SECONDS = 24 * 3600.0
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class Cache:
    """Models by digest below `root`. Processes may share one, each doing as it likes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._partial = root / "partial"

    def published(self, digest: str, folder: bool) -> Path | None:
        """The folder of a published model whose bytes still have that digest; a damaged one is removed."""
        path = self._path(digest, folder)
        try:
            if not path.is_dir():
                return None
            if content_digest(path, folder) == digest:
                return path
            log.warning("the cache holds a damaged copy of %s, which is removed", digest)
            self._remove(path)
        except FileNotFoundError:
            # Another process was faster to remove it.
            pass
        return None

    def publish(self, staged: Path, digest: str, folder: bool) -> Path:
        """Move a verified download into place; when another process was first, its copy is as good."""
        path = self._path(digest, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(staged)
        try:
            staged.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        _sync_one(path.parent)
        return path

    def known_digest(self, key: str) -> str | None:
        """The digest that the source of `key` had when it was last fetched."""
        try:
            digest = json.loads(self._note(key).read_text())["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return digest if isinstance(digest, str) else None

    def remember(self, key: str, uri: str, digest: str) -> None:
        note = self._note(key)
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_suffix(f".{secrets.token_hex(4)}")
        fresh.write_text(json.dumps({"uri": uri, "digest": digest}))
        fresh.replace(note)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A folder to download into, empty or as a killed process left it; removed when left in peace.

        Interrupted transfers leave it for the next start, as does a kill. A folder that another
        download works in is not shared.
        """
        self._partial.mkdir(parents=True, exist_ok=True)
        folder = self._partial / key
        lock = try_lock(_lock_of(folder))
        if lock is None:
            folder = self._partial / f"{key}-{secrets.token_hex(4)}"
            lock = try_lock(_lock_of(folder))
        done = False
        try:
            self._sweep(folder)
            folder.mkdir(exist_ok=True)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
            done = True
        finally:
            if lock:
                lock.release(remove=done)

    def _sweep(self, kept: Path) -> None:
        """Remove what no process works on: other content of the same URI, and whatever is old."""
        same_uri = kept.name.split("-")[0] + "-"
        for folder in {path.with_suffix("") for path in self._partial.iterdir()}:
            if folder == kept or not (folder.name.startswith(same_uri) or _age(folder) > STALE_SECONDS):
                continue
            lock = try_lock(_lock_of(folder))
            if lock is not None:
                log.info("swept the unfinished download %s", folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                lock.release(remove=True)
        for note in (self._root / "source").glob("*.????????"):
            if _age(note) > STALE_SECONDS:
                note.unlink(missing_ok=True)

    def _remove(self, path: Path) -> None:
        """By one rename, so that nobody finds half of it."""
        self._partial.mkdir(parents=True, exist_ok=True)
        grave = self._partial / f"removed-{secrets.token_hex(4)}"
        lock: FileLock | None = try_lock(_lock_of(grave))
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)
        if lock:
            lock.release(remove=True)

    def _path(self, digest: str, folder: bool) -> Path:
        return self._root / ("folder" if folder else "file") / digest

    def _note(self, key: str) -> Path:
        return self._root / "source" / f"{key}.json"


def source_key(uri: str, entries: list[Entry]) -> str:
    """`<URI>-<content>`: the second half changes with any path, size or ETag."""
    listing = sorted((entry.path, entry.size, entry.tag) for entry in entries)
    return "-".join(hashlib.sha256(text.encode()).hexdigest()[:24] for text in (uri, json.dumps(listing)))


def content_digest(path: Path, folder: bool) -> str:
    """The digest of a model folder in the cache: over its one file, or over the folder."""
    return folder_digest(path) if folder else file_digest(path / MODEL_FILE)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into a load error that names the cache."""
    try:
        yield
    except OSError as error:
        told = error.strerror or str(error)
        if error.errno in _UNUSABLE:
            raise LoadError(
                Reason.INVALID_CONFIGURATION,
                f"HALDANE_CACHE_DIR {root} cannot be written to: {told}; name a folder on a writable volume.",
            ) from error
        advice = "; give that volume more space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise LoadError(Reason.LOAD_FAILED, f"The cache {root} cannot hold the model: {told}{advice}.") from error


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _age(path: Path) -> float:
    """Seconds since anything was added to a file or a download; without end for what is gone."""
    journal = path / "journal"
    try:
        return time.time() - (journal if journal.exists() else path).stat().st_mtime
    except OSError:
        return float("inf")


def _sync(folder: Path) -> None:
    """All of a folder to the disk: the rename must not reach it before the content."""
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
