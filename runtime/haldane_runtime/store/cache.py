"""The content-addressed cache on disk.

    <cache>/file/<sha256>/model.onnx     a published single file
    <cache>/folder/<sha256>/…            a published folder
    <cache>/source/<key>.json            which digest a URI with these ETags had
    <cache>/partial/<key>/model/…        finished files of a download under way
    <cache>/partial/<key>/part/<n>       the file that is being written

Publishing is one rename of a finished folder: a reader sees the whole model or none. What a killed
process leaves in `partial` is continued by the next start.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.digest import file_digest, folder_digest
from haldane_runtime.store.location import MODEL_FILE
from haldane_runtime.store.source import Entry


class Cache:
    """Models by digest below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def published(self, digest: str, folder: bool) -> Path | None:
        """The folder of a published model whose bytes still have that digest; a damaged one is removed."""
        path = self._path(digest, folder)
        if not path.is_dir():
            return None
        if content_digest(path, folder) == digest:
            return path
        shutil.rmtree(path)
        return None

    def publish(self, staged: Path, digest: str, folder: bool) -> Path:
        """Move a verified download into place; when another process was first, its copy is as good."""
        path = self._path(digest, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.rename(path)
        except OSError:
            if not path.is_dir():
                raise
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
        fresh = note.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"uri": uri, "digest": digest}))
        fresh.replace(note)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A folder to download into, empty or as a killed process left it; removed when left in peace.

        Interrupted transfers leave it for the next start, as does a kill. A folder that a living
        process works in is not shared.
        """
        folder = self._root / "partial" / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{key}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                folder = folder.with_name(f"{key}-{os.getpid()}")
            folder.mkdir(exist_ok=True)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, digest: str, folder: bool) -> Path:
        return self._root / ("folder" if folder else "file") / digest

    def _note(self, key: str) -> Path:
        return self._root / "source" / f"{key}.json"


def source_key(uri: str, entries: list[Entry]) -> str:
    """Names exactly this content of `uri`: it changes with any path, size or ETag."""
    listing = [uri, sorted((entry.path, entry.size, entry.tag) for entry in entries)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32]


def content_digest(path: Path, folder: bool) -> str:
    """The digest of a model folder in the cache: over its one file, or over the folder."""
    return folder_digest(path) if folder else file_digest(path / MODEL_FILE)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into a load error that names the cache."""
    try:
        yield
    except PermissionError as error:
        raise LoadError(
            Reason.INVALID_CONFIGURATION, f"HALDANE_CACHE_DIR {root} is not writable: {error.strerror}."
        ) from error
    except OSError as error:
        raise LoadError(
            Reason.LOAD_FAILED, f"The cache {root} cannot hold the model: {error.strerror or error}."
        ) from error
