"""sha256 of a model, the same wherever it is computed.

A single file's digest is the sha256 of its bytes. A folder's is the sha256 of the listing that
`sha256sum` prints for its files, sorted by path as bytes, so that a shell can check it. Links count as
what they point to, since the engine reads through them and a download has none:

    cd folder && find -L . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason


def file_digest(path: Path) -> str:
    """sha256 in hex of the bytes of `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 in hex of the sorted lines `<sha256>  <relative path>\\n` of all files below `folder`.

    Raises:
        LoadError: InvalidModel, for a file name that `sha256sum` would escape or not UTF-8, or a link
            to a folder that holds the link.
        OSError: when something cannot be read.
    """
    lines = []
    for path in _files(folder, frozenset()):
        relative = check_relative(path.relative_to(folder).as_posix())
        lines.append((relative.encode(), file_digest(path)))
    listing = b"".join(digest.encode() + b"  " + name + b"\n" for name, digest in sorted(lines))
    return hashlib.sha256(listing).hexdigest()


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """All files below, through links to files and folders; a link that points nowhere is no file."""
    here = folder.resolve()
    if here in above:
        raise LoadError(Reason.INVALID_MODEL, f"The model folder holds a link to a folder above itself: {folder}.")
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, above | {here})
        elif path.is_file():
            yield path


def check_relative(path: str) -> str:
    """`path` itself, when it stays inside its folder and means the same everywhere.

    Raises:
        LoadError: InvalidModel.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(ord(char) < 32 or char == "\\" for char in path):
        raise LoadError(Reason.INVALID_MODEL, f"The model folder holds a file with the unusable name {path!r}.")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise LoadError(
            Reason.INVALID_MODEL, f"The model folder holds a file name that is not UTF-8: {path!r}."
        ) from None
    return path


def check_tree(paths: Iterable[str]) -> None:
    """Refuse names that cannot lie in one folder, as the keys of an object storage may.

    Raises:
        LoadError: InvalidModel.
    """
    files = set(paths)
    for path in files:
        check_relative(path)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if (above := "/".join(parts[:depth])) in files:
                raise LoadError(
                    Reason.INVALID_MODEL, f"The model folder holds {above!r} both as a file and as a folder."
                )
